"""What happened at a promotion, a rollback or a refusal, as a flow run with an artifact: where Prefect keeps history.

The server promotes (`serving.promotion.live`) and tells; it never waits for this.
"""

import json
import re
import sys
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext

from tasks.markdown_table import markdown_table

_TITLES = {
    "promoted": "serves",
    "rolled_back": "serves again",
    "refused": "was refused",
    "challenger": "answers a share of the users",
}


@flow(name="promote", persist_result=False)
def promote(promotion: dict[str, Any]) -> str:
    """Keep what happened.

    Args:
        promotion: the fields of `serving.promotion.Promotion`.

    Returns:
        The artifact's Markdown.
    """
    text = markdown(promotion)
    if FlowRunContext.get() is not None:
        # Prefect's keys hold small letters, digits and dashes; a knowledge base's name may hold more.
        create_markdown_artifact(text, key=re.sub(r"[^a-z0-9-]", "-", f"promotion-{promotion['model']}".lower()))
    return text


def markdown(promotion: dict[str, Any]) -> str:
    """Return what happened, for a person."""
    rows = {
        "before": promotion["before"],
        "why": promotion["why"],
        "alias": promotion["alias"],
        "checks": ", ".join(promotion["checks"]),
        "seconds": f"{promotion['seconds']:.1f}",
    }
    table = markdown_table(("", ""), ((name, value) for name, value in rows.items() if value))
    return f"# {_title(promotion)}\n\n{table}\n"


def main() -> None:
    """Report one promotion, read as JSON from standard input."""
    promotion = json.load(sys.stdin)
    promote.with_options(flow_run_name=_title(promotion))(promotion)


def _title(promotion: dict[str, Any]) -> str:
    return f"{promotion['model']} {promotion['version']} {_TITLES[promotion['kind']]}"


if __name__ == "__main__":
    from tasks.settings import quiet_environment

    quiet_environment()
    main()
