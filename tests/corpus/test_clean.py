"""Cleaning and decoding: no control character stays, plain text is kept, older encodings are recognised."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.parsing.clean import clean, clean_line
from tasks.corpus.parsing.decode import decode_html, decode_text
from tasks.corpus.parsing.parse import Reject
from tasks.errors import ParseError
from tests.corpus.parse_world import document, parse_one

HOSTILE = st.one_of(
    st.characters(categories=["Cf", "Cc", "Cs", "Mn", "Co"]),
    st.sampled_from(
        "ab é\u0301\u200d\u200c\u202e\u200b\ufeff\ufe0f\U000e0041🙂👩👧🏴\U000e0067\U000e007f\r\nहني\u0085\u2028"
    ),
)


@given(st.text(HOSTILE))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once, _ = clean(text)

    assert clean(once) == (once, 0)


@given(st.text(HOSTILE))
def test_clean_text_is_composed_and_has_no_control_characters(text: str) -> None:
    once, num_hidden = clean(text)

    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(character) == "Cc" and character not in "\t\n" for character in once)
    assert not set(once) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u200e\u200f\ufeff\x00")
    assert once.encode().decode() == once
    assert 0 <= num_hidden <= len(text)


@given(st.text(HOSTILE))
def test_a_clean_line_is_one_line(text: str) -> None:
    assert len(clean_line(text).splitlines()) <= 1


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_is_kept(text: str) -> None:
    assert clean(f"|{text}|") == (f"|{text}|", 0)


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d👩\u200d👧\u200d👦",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "❤\ufe0f\u200d🔥",
        "می\u200cخواهم",  # noqa: RUF001 (Persian)
        "क्\u200dष",
        "日本語 عربي עברית",
    ],
)
def test_emoji_and_joining_scripts_are_kept_whole(text: str) -> None:
    assert clean(text) == (text, 0)


@pytest.mark.parametrize(
    ("text", "expected", "num_hidden"),
    [
        ("a\u202eb\u202c", "ab", 2),
        ("pay\u200bment \u200dx", "payment x", 2),
        ("x" + "".join(chr(0xE0000 + ord(letter)) for letter in "ignore"), "x", 6),
        ("🙂\ufe0f\ufe01\U000e0102", "🙂\ufe0f", 2),
        ("a\r\nb\rc\x0cd\x00", "a\nb\nc\nd", 0),
        ("e\u0301", "é", 0),
        ("\ud800x", "\ufffdx", 0),
    ],
)
def test_hidden_characters_are_removed_and_counted(text: str, expected: str, num_hidden: int) -> None:
    assert clean(text) == (expected, num_hidden)


def test_the_number_of_hidden_characters_is_recorded(tmp_path: Path) -> None:
    assert document(tmp_path, "a.md", "in\u200bvisible").metadata == {"hidden_characters": "1"}


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")),
    st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]),
)
def test_text_with_a_byte_order_mark_comes_back(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding)) == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")))
def test_utf8_comes_back(text: str) -> None:
    assert decode_text(text.encode()) == text


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        decode_text(data).encode()
        decode_html(data).encode()
    except ParseError as error:
        assert error.code in {"encoding", "type_mismatch"}


GERMAN = "Die Größe der Straße überrascht. Für müde Füße wäre ein kürzerer Weg schöner gewesen, fügte er hinzu. " * 3
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний. " * 3
JAPANESE = "これは文字コードの判定を確かめるための日本語の文章です。漢字とかなが混ざっています。" * 3


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
    ],
)
def test_text_in_an_older_encoding_is_recognised(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding)) == text


def test_text_of_two_encodings_is_refused_with_the_place(tmp_path: Path) -> None:
    found = parse_one(tmp_path, "a.md", "Größe und Straße, ".encode() + "müde".encode("cp1252"))

    assert isinstance(found, Reject)
    assert (found.code, "at byte 22" in found.reason) == ("encoding", True)


def test_a_page_is_decoded_as_its_meta_element_says() -> None:
    page = '<meta charset="koi8-r"><p>чай</p>'

    assert decode_html(page.encode("koi8-r")) == page
