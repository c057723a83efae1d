"""Whatever an author's editor, merge or habit does to a block of front matter: never more readers than were named."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.parsing.details import read_details
from tasks.corpus.parsing.front_matter import split_front_matter
from tasks.corpus.parsing.own_keys import is_one_slip_away
from tasks.corpus.parsing.parse import parse_items
from tasks.corpus.parsing.read_text import said_of
from tasks.corpus.sources import RawItem, open_source
from tasks.errors import ParseError
from tasks.params import ParsingParams
from tasks.params.sources import FilesSource

MANY = int(os.environ.get("ALMANAC_WORLD_EXAMPLES", "0"))
"""How many examples of each property; 0: a few hundred."""
SOURCE = FilesSource.model_validate(
    {
        "kind": "files",
        "name": "docs",
        "url": ".",
        "knowledge_base": "kb",
        "access": ["everyone"],
        "max_removed_fraction": 0.2,
    }
)
PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=10_000)
GROUPS = ("hr", "finance", "legal-team")


def readers(text: str, name: str = "page.md", *, encoding: str = "utf-8") -> tuple[str, ...]:
    """The groups that the text's own statement gives; nobody where it is refused; the source's where it has none."""
    try:
        said = read_details(said_of(SOURCE, RawItem(text.encode(encoding), name))).access
    except ParseError as error:
        assert error.code == "invalid_metadata", text
        return error.access or ()
    return SOURCE.access if said is None else said


def refused(text: str, name: str = "page.md") -> bool:
    try:
        read_details(said_of(SOURCE, RawItem(text.encode(), name)))
    except ParseError as error:
        assert error.code == "invalid_metadata"
        return True
    return False


# --- a grammar of front matter as it is met ---

_INVISIBLE = st.sampled_from(["", "", "", "\ufeff", "\u200b", "\u2060"])
_BLANK_LINES = st.sampled_from(["", "", "", "\n", " \n\t\n", "\ufeff\n"])
_KEYS = st.sampled_from(
    [
        *["access"] * 6,
        *("Access", "ACCESS", '"access"', "'access'", '"access "', "access ", "acess", "accss", "acccess", "acesss"),
        *("аccess", "access_groups", "accessGroups", "access-list", "acl", "allowed_groups", "?access", "access\u200b"),  # noqa: RUF001
    ]
)
_OTHERS = st.lists(
    st.sampled_from(
        [
            "title: Pay",
            "Title: Pay",
            "tags: [a, b]",
            "author: M. Meier",
            "# a comment",
            "",
            "description: |\n  two\n  lines",
            "date: 2024-05-01",
            "draft: false",
            "weight: 3",
            "menu:\n  main: {weight: 1}",
        ]
    ),
    max_size=4,
    unique=True,
)


@st.composite
def statements(draw: st.DrawFn, groups: list[str]) -> str:
    """`access: …` in one of its notations, well written or not."""
    key, colon = draw(_KEYS), draw(st.sampled_from([": ", ": ", ": ", ":  ", " : ", ":\t", "：", "=", ":"]))  # noqa: RUF001
    indent = draw(st.sampled_from(["", "", "", "", " ", "  ", "\t", "- "]))
    notation = draw(st.sampled_from(["flow", "flow", "block", "quoted", "bare", "json"]))
    if notation == "block":
        return f"{indent}{key}:\n" + "\n".join(f"{indent}  - {group}" for group in groups)
    if notation == "json":
        return f"{indent}{key}{colon}" + str(groups).replace("'", '"')
    if notation == "bare":
        return f"{indent}{key}{colon}{', '.join(groups)}"
    listed = ", ".join(f"'{group}'" if notation == "quoted" else group for group in groups)
    return f"{indent}{key}{colon}[{listed}]"


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, set[str]]:
    """A text whose author named some groups, and those groups."""
    groups = draw(st.lists(st.sampled_from(GROUPS), min_size=1, max_size=2, unique=True))
    lines = [*draw(_OTHERS), draw(statements(groups))]
    if draw(st.integers(0, 5)) == 0:
        lines.append("access: [everyone]")
    lines = draw(st.permutations(lines))
    if draw(st.integers(0, 9)) == 0:
        lines = ["params:", *(f"  {line}" for part in lines for line in part.split("\n"))]
    opening = draw(
        st.sampled_from(["---"] * 8 + ["--- ", " ---", "--- # front matter", "----", "---yaml", "+++", "—", "<!--", ""])
    )
    closing = draw(st.sampled_from(["---"] * 8 + ["...", "--- ", " ---", "----", "+++", "—", "-->", ""]))
    lead = draw(_INVISIBLE) + draw(_BLANK_LINES) + draw(st.sampled_from(["", "", "", "<!-- licence: MIT -->\n"]))
    body = draw(st.sampled_from(["\n# Pay\n\nWho earns what.\n", "Who earns what.", "", "\n---\n\nMore.\n"]))
    text = lead + "\n".join(part for part in (opening, *lines, closing, body) if part or part == body)
    return text.replace("\n", draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\u2028", "\x85"]))), set(groups)


def never_more_readers(case: tuple[str, set[str]], name: str, encoding: str) -> None:
    text, groups = case
    assert set(readers(text, name, encoding=encoding)) <= groups, (text, name)


_NAMES = st.sampled_from(["page.md", "page.txt", "page.markdown", "page.rst", "page.html", "page.org", "page.tex"])
_ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])


@settings(max_examples=MANY or 400)
@given(documents(), _NAMES, _ENCODINGS)
def test_no_more_readers_than_the_author_named(case: tuple[str, set[str]], name: str, encoding: str) -> None:
    never_more_readers(case, name, encoding)


@given(st.lists(st.sampled_from(GROUPS), max_size=3, unique=True), _OTHERS, _NAMES)
def test_a_well_written_block_is_read(groups: list[str], others: list[str], name: str) -> None:
    block = "\n".join([*others, f"access: [{', '.join(groups)}]"])

    assert readers(f"---\n{block}\n---\n\nText.\n", name) == tuple(groups)


# --- single kinds, by name ---


@pytest.mark.parametrize(
    "text",
    [
        "---\raccess: [hr]\r---\rText.\r",
        "---\r\naccess: [hr]\r\n---\r\nText.",
        "---\naccess: [hr]\n...\n\nText.",
        "\n\n---\naccess: [hr]\n---\nText.",
        "\ufeff\n---\naccess: [hr]\n---\nText.",
        "---\nAccess: [hr]\n---\nText.",
        '---\n"access ": [hr]\n---\nText.',
        "+++\nACCESS = ['hr']\n+++\nText.",
        '{"title": "Pay", "access": ["hr"]}\n\nText.',
        "---\naccess: [hr]\n---",
    ],
)
def test_front_matter_as_editors_write_it_is_read(text: str) -> None:
    assert readers(text) == ("hr",)


@pytest.mark.parametrize(
    "text",
    [
        "---\naccess: [hr]\n\nText without a closing line.",
        "---\ntitle: Pay\n\nText without a closing line.",
        "---\naccess: [hr]\naccess: [everyone]\n---\nText.",
        "---\naccess: [hr]\nAccess: [everyone]\n---\nText.",
        "---\ntitle: One\ntitle: Two\n---\nText.",
        "---\nacces: [hr]\n---\nText.",
        "---\naccess_groups: [hr]\n---\nText.",
        "---\nparams:\n  access: [hr]\n---\nText.",
        "---\n- access: [hr]\n---\nText.",
        "---\naccess:\n---\nText.",
        "---\naccess: null\n---\nText.",
        "access: [hr]\ntitle: Pay\n\nText.",
        "title: Pay\n\naccess: [hr]\n---\nText.",
        "----\naccess: [hr]\n----\nText.",
        "<!-- a licence -->\n---\naccess: [hr]\n---\nText.",
        "<!--\naccess: [hr]\n-->\nText.",
        "---\ntitle: Pay\n---\n---\naccess: [hr]\n---\nText.",
        "+++\n[extra]\naccess = ['hr']\n+++\nText.",
        "+++\naccess = ['hr']\naccess = ['everyone']\n+++\nText.",
        '{"access": ["hr"], "access": ["everyone"]}\n\nText.',
        '{"access": ["hr"],\n\nText.',
        "---\nexpire_at: 2024-01-01\n---\nText.",
    ],
)
def test_front_matter_in_doubt_is_refused(text: str) -> None:
    assert refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nA text below a rule.\n",
        "# Access\n\nAccess: by the north door, from nine to five.\n",
        "Access: by lift to the third floor.\nHours: nine to five\n\nText.\n",
        "# Front matter\n\n```yaml\n---\naccess: [hr]\n---\n```\n",
        "---\naccessibility: good\naccessed: 2024-01-01\n---\nText.",
        "* * *\n\nA star rule.\n",
        '{"colour": "red"}\n\nText.',
        "Notes\n=====\n\naccess: see below\n",
    ],
)
def test_what_only_resembles_front_matter_is_text(text: str) -> None:
    assert readers(text) == ("everyone",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.html", '<html><head><meta name="access" content="hr"></head><body>Pay</body></html>'),
        ("page.html", "<html><head><meta content=hr property='Access'></head><body>Pay</body></html>"),
        ("page.html", "<!doctype html>\n---\naccess: [hr]\n---\n<p>Pay</p>"),
        ("page.html", "<html><head><title>a</title></head><body>\n---\naccess: [hr]\n---\n<p>Pay</p></body></html>"),
        ("page.org", "* Pay\n:PROPERTIES:\n:access: hr\n:END:\nWords."),
        ("page.org", "# access: hr\n* Pay\nWords."),
        ("page.tex", "% Draft\n% access: [hr, board]\n\\section{Pay} Words."),
        ("page.csv", "# access: hr\na,b\n1,2\n"),
        ("page.rst", ".. access: hr\n\nPay\n===\n\nWords."),
        ("page.rst", ".. meta::\n   :access: hr\n\nPay\n===\n\nWords."),
        ("page.mdx", "import A from 'a'\n\n---\naccess: [hr]\n---\n\nWords."),
    ],
)
def test_access_where_a_format_is_not_read_for_it_is_in_doubt(name: str, text: str) -> None:
    assert refused(text, name)
    assert readers(text, name) == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.html", '<html><head><meta name="description" content="access: all of it"></head><body>a</body></html>'),
        ("page.html", "<html><body><h1>Docs</h1><pre>---\naccess: [hr]\n---</pre></body></html>"),
        ("page.org", "* Pay\n:PROPERTIES:\n:CUSTOM_ID: a\n:END:\nAccess: ask at the desk."),
        ("page.tex", "% Access: by the north door, from nine to five.\n\\section{Pay}"),
        ("page.rst", ".. note::\n   The access: see below.\n"),
    ],
)
def test_what_speaks_of_access_says_nothing_of_readers(name: str, text: str) -> None:
    assert readers(text, name) == ("everyone",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.html", "---\naccess: [hr]\nlayout: page\n---\n<html><body><h1>Pay</h1><p>Words.</p></body></html>"),
        ("page.rst", "---\naccess: [hr]\n---\n\nPay\n===\n\nWords.\n"),
        ("page.org", "---\naccess: [hr]\n---\n\n* Pay\n\nWords.\n"),
        ("page.tex", "---\naccess: [hr]\n---\n\\section{Pay}\n\nWords.\n"),
        ("page.rst", "Pay\n===\n\n:access: hr\n\nWords.\n"),
        ("page.org", "#+TITLE: Pay\n#+ACCESS: hr\n\nWords.\n"),
    ],
)
def test_every_format_of_text_has_front_matter(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    source = SOURCE.model_copy(update={"url": str(tmp_path)})
    (found,) = parse_items(
        source, list(open_source(source, cache=tmp_path).scan()), parsing=PARSING, cache=tmp_path
    ).documents

    assert (found.access, found.title) == (("hr",), "Pay")
    assert "layout" not in found.text
    assert "Words." in found.text


def test_a_fault_elsewhere_leaves_the_access_readable(tmp_path: Path) -> None:
    (tmp_path / "date.md").write_text("---\naccess: [hr]\nexpires_at: someday\n---\nText.")
    (tmp_path / "doubt.md").write_text("---\naccess: [hr\n---\nText.")
    (tmp_path / "bytes.md").write_bytes(b"---\naccess: [hr]\n---\nna\xc3\xafve \xc3\xa9t\xc3\xa9 \xff\xfe text")
    source = SOURCE.model_copy(update={"url": str(tmp_path)})
    items = list(open_source(source, cache=tmp_path).scan())
    rejects = parse_items(source, items, parsing=PARSING, cache=tmp_path).rejects

    assert {reject.key: reject.access for reject in rejects} == {
        "date.md": ("hr",),
        "doubt.md": (),
        "bytes.md": ("hr",),
    }


def test_aliases_in_yaml_cost_no_time() -> None:
    bomb = "\n".join([f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9) if n else 'x'}]" for n in range(30)])

    assert refused(f"---\naccess: [hr]\n{bomb}\n---\nText.") or readers(f"---\naccess: [hr]\n{bomb}\n---\nText.")


@given(st.text("acces", max_size=8), st.just("access"))
def test_one_slip_is_one_edit(typed: str, meant: str) -> None:
    edits = {meant[:at] + meant[at + 1 :] for at in range(len(meant))}
    edits |= {meant[:at] + letter + meant[at:] for at in range(len(meant) + 1) for letter in "aces"}
    edits |= {meant[:at] + letter + meant[at + 1 :] for at in range(len(meant)) for letter in "aces"}
    edits |= {meant[:at] + meant[at + 1] + meant[at] + meant[at + 2 :] for at in range(len(meant) - 1)}

    assert is_one_slip_away(typed, meant) == (typed in edits - {meant})


def test_what_follows_the_block_is_the_text() -> None:
    assert split_front_matter("---\ntitle: T\n---\n\n# Pay\n") == ({"title": "T"}, "\n# Pay\n")


@pytest.mark.parametrize(
    ("value", "year"),
    [("20240131", 2024), ("2024-01-31", 2024), ("1706659200", 2024), ("1706659200000", 2024), ("-1000000000", 1938)],
)
def test_a_number_is_a_moment_where_it_can_be_meant_as_one(value: str, year: int) -> None:
    said = said_of(SOURCE, RawItem(f"---\nexpires_at: {value}\n---\nText.".encode(), "page.md"))
    expires_at = read_details(said).expires_at
    assert expires_at is not None
    assert expires_at.year == year


@pytest.mark.parametrize("value", ["12:30:00", "0", "2024", "20241301", "99999999"])
def test_a_number_that_is_no_moment_is_refused(value: str) -> None:
    assert refused(f"---\nexpires_at: {value}\n---\nText.")


def test_a_year_of_another_tool_is_no_date() -> None:
    said = said_of(SOURCE, RawItem(b"---\ndate: 2024\n---\nText.", "page.md"))
    assert read_details(said).updated_at is None
