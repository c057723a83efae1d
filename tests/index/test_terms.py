"""Search terms: a text and a question are cut alike, whatever the script; nothing that was typed is lost."""

import os
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.index.search.terms import MAX_QUESTION_TERMS, STOP_WORDS, document_terms, question_names, question_terms

ENGLISH = "English"
NUM_EXAMPLES = int(os.environ.get("ALMANAC_WORLD_EXAMPLES", "0")) or 300
SCRIPTS = (
    "ledger Häuser Straße naïve",
    "提交报销单 猫",
    "日本語のテキスト カタカナ",
    "한국어 문서",
    "ไม่สามารถเชื่อมต่อ",
    "हिन्दी में खोज",
    "Ёлка растёт",
    "العربية",
    "--dry-run -x C++ C# F# .NET .env",
    "pytest.mark.timeout(60) max_retries=0 LoraConfig 1,000 3.12.1 a@b.org",
)
ASKED = ("{}", "What is {}?", "({})", "“{}”", "use {}, please", "**{}**")
words = st.sampled_from(" ".join(SCRIPTS).split()) | st.text(min_size=1, max_size=20)
texts = st.lists(words, max_size=12).map(" ".join)


def terms(text: str) -> list[str]:
    return document_terms(text, ENGLISH).split(" ")


@settings(max_examples=NUM_EXAMPLES, deadline=None)
@given(texts)
def test_every_term_of_a_question_stands_in_the_text_that_it_repeats(text: str) -> None:
    assert set(question_terms(text, ENGLISH)) <= set(terms(text))


@settings(max_examples=NUM_EXAMPLES, deadline=None)
@given(words, texts, texts, st.sampled_from(ASKED))
def test_a_word_is_found_wherever_it_stands_in_a_text_and_however_it_is_asked(
    word: str, before: str, after: str, asked: str
) -> None:
    word = " ".join(word.split())
    alone = set(question_terms(word, ENGLISH))
    assert alone <= set(terms(f"{before} {word} {after}"))
    assert alone <= STOP_WORDS or alone & set(question_terms(asked.format(word), ENGLISH))


def drawn_words(draw: Random, most: int) -> str:
    """Words of all scripts, some of signs and letters of any plane."""
    known = " ".join(SCRIPTS).split()
    odd = "".join(chr(draw.choice((draw.randrange(0x21, 0x250), draw.randrange(0x250, 0xD800)))) for _ in range(4))
    return " ".join(draw.choice((*known, odd)) for _ in range(draw.randint(1, most)))


def test_words_drawn_by_their_number_are_found_however_they_are_asked() -> None:
    """`ALMANAC_WORLD_EXAMPLES=100000` tries so many: to draw them so takes a tenth of what hypothesis needs."""
    for seed in range(NUM_EXAMPLES):
        draw = Random(seed)
        word, before, after = (drawn_words(draw, most) for most in (1, 8, 8))
        asked = draw.choice(ASKED).format(word)
        alone, held = set(question_terms(word, ENGLISH)), set(terms(f"{before} {word} {after}"))
        assert alone <= held, (seed, word)
        assert alone <= STOP_WORDS or alone & set(question_terms(asked, ENGLISH)), (seed, asked)


@settings(max_examples=NUM_EXAMPLES, deadline=None)
@given(texts)
def test_terms_hold_no_blank_and_are_never_empty(text: str) -> None:
    found = document_terms(text, ENGLISH)
    assert found == "" or all(term and not any(char.isspace() for char in term) for term in found.split(" "))


@settings(max_examples=NUM_EXAMPLES, deadline=None)
@given(texts, texts)
def test_terms_of_lines_are_those_of_the_text(first: str, second: str) -> None:
    assert document_terms(f"{first}\n{second}", ENGLISH).split() == [
        *document_terms(first, ENGLISH).split(),
        *document_terms(second, ENGLISH).split(),
    ]


@pytest.mark.parametrize("sign", ["--dry-run", "c++", "c#", ".env", "max_retries", "pytest.mark.timeout", "3.12.1"])
def test_sign_is_a_term_of_its_own(sign: str) -> None:
    assert sign in terms(f"Use {sign} here")


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("what does --dry-run do in max_retries of C++", ("--dry-run", "max_retries", "c++")),
        ("which .env file and pytest.mark.timeout", (".env", "pytest.mark.timeout")),
        ("a well-known e-mail of 3.12.1 costs 1,000 and isn't and/or", ()),
        ("", ()),
    ],
)
def test_names_are_what_was_typed_with_signs(question: str, names: tuple[str, ...]) -> None:
    assert question_names(question, ENGLISH) == names


def test_flag_is_also_its_words() -> None:
    assert {"--dry-run", "dry-run", "dri", "run"} <= set(terms("pass --dry-run"))


def test_language_names_of_one_letter_are_apart() -> None:
    assert not {"c"} & set(terms("C++ and C#"))
    assert terms("C") == ["c"]


def test_long_identifier_is_whole() -> None:
    digest = "9f86d081884c7d65" * 4
    assert terms(f"sum {digest}") == ["sum", digest]


def test_name_in_humps_is_also_its_words() -> None:
    assert terms("LoraConfig") == ["loraconfig", "lora", "config"]
    assert terms("OpenAI") == ["openai"]


def test_languages_without_blanks_are_cut_into_pairs() -> None:
    assert {"报销", "销单"} <= set(terms("怎么提交报销单"))
    assert question_terms("报销单", ENGLISH) == ("报销", "销单")


def test_one_ideograph_can_be_asked_for() -> None:
    assert set(question_terms("猫", ENGLISH)) <= set(terms("猫が好き"))


def test_marks_of_a_script_belong_to_its_words() -> None:
    assert len(terms("हिन्दी में")) == 2


def test_accents_and_separators_of_thousands_are_folded() -> None:
    assert terms("Zürich 1,000") == terms("zurich 1000")


def test_stop_words_are_dropped_from_a_question_that_has_others() -> None:
    assert question_terms("what does the ledger do", ENGLISH) == ("ledger",)
    assert question_terms("The Who", ENGLISH) == ("the", "who")


def test_acronym_that_reads_as_a_stop_word_can_be_asked_for() -> None:
    assert question_terms("What does IT do?", ENGLISH) == ("IT",)
    assert "IT" in terms("The IT desk")
    assert "IT" not in terms("it works")


def test_long_question_is_cut() -> None:
    assert len(question_terms(" ".join(f"w{number}" for number in range(5000)), ENGLISH)) == MAX_QUESTION_TERMS
