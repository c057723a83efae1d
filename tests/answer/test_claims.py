import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.package_claims import checked_claims
from tasks.answer.check.claims import check, is_caveat, parts, statements
from tasks.answer.check.contradiction import contradicted
from tasks.answer.check.exact import evidence, exact_terms, missing
from tasks.answer.draft import kept
from tasks.index.embedding.embedder import load_embedder
from tasks.params import EmbeddingParams
from tasks.settings import Settings
from tests.answer.test_words import passage
from tests.conftest import BASE_PARAMS

FOLDER = Path(os.environ.get("ALMANAC_ANSWERS_DIR", Path(__file__).parents[3] / "shared" / "answers"))

PIECES = [
    "A sentence with `code[9]` and **kwargs**, e.g. x**2 < y.\n\n",
    "```python\nvalue = argv[7]  # <arg> &amp; https://x.example\n```\n\n",
    "- item one [1]\n- item *two* [2]\n\n",
    "| a | b |\n|---|---|\n| 1 | `x` [1] |\n\n",
    "# Heading\n\n",
    "> a quote [1]\n\n",
    "    indented code\n\n",
    "Text with <b>tags</b>, List<String> and [a link](https://x.example/[8]).\n\n",
    "1. first\n2. second\n\n",
]


@pytest.mark.parametrize(
    ("said", "read", "is_other"),
    [
        ("You may read 1,000 rows of a table.", "You may read 1000 rows of a table.", False),
        ("You may read 1000 rows of a table.", "You may read 1\u202f000 rows of a table.", False),
        ("You may read 1,000 rows of a table.", "You may read 1,001 rows of a table.", True),
    ],
)
def test_what_is_counted_is_the_same_however_its_number_is_written(said: str, read: str, is_other: bool) -> None:
    assert contradicted(said, [read], "") == is_other


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8))
def test_markdown_passes_unchanged(pieces: list[str]):
    draft = "Begin.\n\n" + "".join(pieces) + "End."
    assert kept(draft, ["See https://x.example/[8].", ""]) == draft


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("The quota is 5GB.", "The quota is 5 GB."),
        ("The fee is 1000 euros.", "The fee is 1,000 euros."),
        ("It drives 30km/h.", "It drives 30 km/h."),
        ("Version v2.1 works.", "Version 2.1 works."),
        ("Ask the HELP desk.", "Ask the help desk."),
        ("Meet at the Café today.", "The cafe is open."),
        ("It waits ten seconds, 10 s.", "wait = 10"),
    ],
)
def test_exact_term_is_held_in_another_form(said: str, read: str):
    assert missing(exact_terms(said), evidence((read,))) == ()


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("All C# code needs reviews.", "All C++ code needs reviews."),
        ("It holds at -5 degrees.", "It holds at 5 degrees."),
        ("It costs 5 euros.", "It costs 5 dollars."),
        ("Set `retry_backoff`.", "Set max_retries."),
        ("Use `--virtualenv`.", "Use -p in a virtualenv."),
    ],
)
def test_other_sign_number_or_identifier_is_missing(said: str, read: str):
    assert missing(exact_terms(said), evidence((read,))) != ()


@pytest.mark.parametrize("said", ["The passages do not say who wrote it.", "Nothing about it is in the documents."])
def test_caveat_is_no_claim(said: str):
    assert is_caveat(said)
    assert statements(said) == []


def test_lead_in_question_and_heading_are_no_claims():
    assert statements("# Uses\n\nIt has these parts:\n\nDo you want more?\n\nYes.") == []


def test_list_item_leans_on_the_citation_of_its_lead_in():
    found = statements("Zephyr has two parts [2]:\n\n- a broker\n- a worker [1]")
    assert [statement.markers for statement in found] == [(2,), (1,)]


def test_denied_statement_is_doubted():
    (claim,) = check("Zephyr does support Windows [1].", [passage()], None)
    assert claim.verdict == "unverified"


def test_thing_counted_otherwise_is_doubted():
    (claim,) = check("It tries 5 times [1].", [passage("It tries 2 times; see step 5.")], None)
    assert claim.verdict == "unverified"


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the labelled claims lie outside the repository, not at {FOLDER}")
def test_labelled_claims_keep_their_bounds(tmp_path: Path):
    from benchmarks.answer_checks import labelled_claims

    embedder = load_embedder(EmbeddingParams(**BASE_PARAMS["embedding"]), Settings(home=tmp_path))
    judged = list(labelled_claims(embedder))
    true = [each.claim.verdict == "supported" for each in judged if each.supported]
    false = [each.claim.verdict == "unverified" for each in judged if not each.supported]
    assert sum(true) / len(true) >= 0.85
    assert sum(false) / len(false) >= 0.6


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the drafts lie outside the repository, not at {FOLDER}")
def test_drafts_of_a_strong_model_arrive_as_they_were_written():
    from benchmarks.answer_checks import bare, code_of, drafts, passages_of
    from tasks.answer.answer import answer_question
    from tests.answer.test_answer import PARAMS, Writer

    params = PARAMS.model_copy(update={"endpoint": "http://localhost:1/v1", "num_passages": 8})
    written = [draft for draft in drafts() if draft["draft_natural"] and draft["complete"]]
    assert written
    for draft in written:
        writer = Writer(draft["draft_natural"], context_length=100_000)
        answer = answer_question(draft["question"], passages_of(draft), writer, params)
        assert answer.outcome == "answer"
        assert bare(answer.text) == bare(draft["draft_natural"])
        assert code_of(answer.text) == code_of(draft["draft_natural"])


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("minidom expands entities.", "minidom does not expand entities, it returns them."),
        ("No compiler is required to build the tarball.", "Building the tarball requires a compiler."),
        (
            "The client retries a request 5 times.",
            "The client retries a request 2 times by default. A step has 5 parts.",
        ),
        ("Version 4.0 of Zephyr needs a broker.", "Version 5.0 of Zephyr needs a broker. Version 4.0 had a queue."),
        ("Text is wrapped right before the hyphens.", "Text is wrapped on blanks and right after the hyphens."),
        ("Zephyr is the successor of Boreas and Eurus.", "Eurus is the successor of Boreas and Zephyr."),
        ("The option enables the cache of the store.", "The option disables the cache of the store."),
        ("Jobs are kept in memory rather than in files.", "Jobs are kept in files rather than in memory."),
        ("Only async clients are accepted by the store.", "Async clients are accepted by the store, sync ones too."),
    ],
)
def test_passage_that_says_something_else_contradicts(said: str, read: str):
    assert contradicted(said, (*parts(read), "An unrelated line."), "")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("A lock ends after 60 seconds.", "The lease of a lock ends after `timeout=60`. A retry waits 5 seconds."),
        ("minidom returns an entity.", "minidom does not expand entities and simply returns the entity."),
        ("You are not limited to two values.", "It does not limit you to these two values, you may set others."),
        ("Without a mode it is chosen by the input.", "The mode is chosen by the first input."),
        ("It only works between equal versions.", "It can be used between the same versions alone."),
        ("By default no lookups are made.", "It makes no lookups by default."),
        ("Entities are returned by minidom.", "minidom returns the entities."),
        ("The store takes no strings.", "The store doesn't take strings."),
        ("Where no wheel exists, the package is built.", "Where wheels are not provided, the package is built."),
        ("It is managed for the system and not for each user.", "Managed for the system rather than for each user."),
        ("It is a thin layer and no large framework.", "This is not a large framework, just a thin layer."),
        ("Upgrade the client if each query logs a warning.", "If each query logs a warning, upgrade the client."),
        ("Details of the job are appended to its log.", "The log gets the details of the job appended to its end."),
    ],
)
def test_passage_that_says_the_same_does_not_contradict(said: str, read: str):
    assert not contradicted(said, (*parts(read), "An unrelated line."), "")


@pytest.mark.slow
def test_own_claims_keep_their_bounds_by_kind(tmp_path: Path):
    embedder = load_embedder(EmbeddingParams(**BASE_PARAMS["embedding"]), Settings(home=tmp_path))
    flags: dict[str, list[bool]] = {}
    for each in checked_claims(embedder):
        flags.setdefault(each.given.kind, []).append(each.flagged)
    if sum(map(len, flags.values())) < 300:
        pytest.skip("too few of the packages that the claims are about are installed")
    shares = {kind: sum(found) / len(found) for kind, found in flags.items()}
    assert shares["true"] <= 0.1
    assert shares["negation"] >= 0.75
    assert shares["number"] >= 0.7
    assert shares["outside"] >= 0.85
    assert shares["identifier"] >= 0.9
    assert shares["relation"] >= 0.25
