"""The advice on the scenarios of the tests, as docs/advise.md shows it.

    python -m benchmarks.advise

No benchmark of speed: it shows that each scenario gets the recommendation of the guide, and why.
"""

from pathlib import Path

from tasks.advise.advise import advise
from tasks.advise.home_facts import Reading
from tasks.advise.needs import read_needs, stated
from tasks.advise.page import brief

SCENARIOS = Path(__file__).parent.parent / "tests" / "advise" / "scenarios"


def page(path: Path) -> str:
    """Return a scenario with the advice on it, its headings three levels down."""
    needs = read_needs(path)
    advice = advise(
        Reading(), stated(needs, path.name), needs, questions_per_month=float(needs.questions_per_month or 0)
    )
    story = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    lines = [f"##{line}" if line.startswith("#") else line for line in brief(advice).splitlines()]
    return "\n".join([f"### `{path.stem}`", "", story, "", *lines, ""])


if __name__ == "__main__":
    for scenario in sorted(SCENARIOS.glob("*.yaml")):
        print(page(scenario))
