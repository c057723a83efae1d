"""A Confluence wiki as a feed, with who may read each page: `python -m experiments.wiki_feed ADDRESS FOLDER`.

dlt fetches the pages and writes them as JSON lines; a source of kind `records` reads them. An example to start from:
another API needs another `pages`. Needs the extra `dlt`; the API's token is read from `WIKI_TOKEN`.
"""

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_EXPANDED = ("body.view", "version", "restrictions.read.restrictions.group")
_OF_ANCESTORS = "ancestors.restrictions.read.restrictions.group"

Record = dict[str, Any]


def write_feed(address: str, folder: Path, *, token: str, space_groups: Iterable[str]) -> int:
    """Write all pages anew, in place of those of the last run: what was deleted there is in no file any more.

    Args:
        address: of the wiki.
        folder: gets `wiki/pages/*.jsonl`, and dlt's own state.
        token: of a user who may read all pages.
        space_groups: who may read pages without restrictions: the API of pages does not say it. None: nobody.

    Returns:
        How many pages were written.
    """
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    import dlt

    pipeline = dlt.pipeline(
        pipeline_name="wiki",
        pipelines_dir=str(folder / "state"),
        destination=dlt.destinations.filesystem(bucket_url=str(folder)),
        dataset_name="wiki",
    )
    # Nested values stay where they are: as tables of their own, the lists of groups would leave their pages.
    resource = dlt.resource(
        pages(address, token, frozenset(space_groups)),
        name="pages",
        write_disposition="replace",
        max_table_nesting=0,
        columns={"access": {"data_type": "json", "nullable": False}},
    )
    pipeline.run(resource, loader_file_format="jsonl")
    normalized = pipeline.last_trace and pipeline.last_trace.last_normalize_info
    return int(normalized.row_counts.get("pages", 0)) if normalized else 0


def pages(address: str, token: str, space_groups: frozenset[str]) -> Iterator[Record]:
    """Yield the pages of a wiki as records."""
    from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
    from dlt.sources.helpers.rest_client.client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

    client = RESTClient(address, auth=BearerTokenAuth(token), paginator=JSONLinkPaginator("_links.next"))
    asked = {"type": "page", "limit": 100, "expand": ",".join((*_EXPANDED, _OF_ANCESTORS))}
    for page in client.paginate("/rest/api/content", params=asked, data_selector="results"):
        for entry in page:
            yield record(entry, address, space_groups)


def record(page: Mapping[str, Any], address: str, space_groups: frozenset[str]) -> Record:
    """Return a page as a record; its id ends in `.html`, by which its text is read as HTML."""
    return {
        "id": f"{page['id']}.html",
        "title": page["title"],
        "text": page["body"]["view"]["value"],
        "uri": f"{address}{page['_links']['webui']}",
        "updated_at": page["version"]["when"],
        "access": sorted(readers([page, *page.get("ancestors", [])], space_groups)),
    }


def readers(levels: Iterable[Mapping[str, Any]], space_groups: frozenset[str]) -> frozenset[str]:
    """Return the groups that may read a page: those that each level, from the page up to the root, lets in.

    A level that says nothing of restrictions lets in nobody; one without any lets in the groups of the space, and one
    that names users alone lets in no group.
    """
    allowed = space_groups
    for level in levels:
        try:
            restrictions = level["restrictions"]["read"]["restrictions"]
            groups = frozenset(group["name"] for group in restrictions["group"]["results"])
            num_users = restrictions.get("user", {}).get("size", 0)
        except (KeyError, TypeError):
            return frozenset()
        if groups or num_users:
            allowed = allowed & groups
    return allowed


def main() -> None:
    """Write the feed of a wiki."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--space-groups", nargs="*", default=[], help="who may read pages without restrictions")
    given = parser.parse_args()
    number = write_feed(given.address, given.folder, token=os.environ["WIKI_TOKEN"], space_groups=given.space_groups)
    print(f"{number} pages")


if __name__ == "__main__":
    main()
