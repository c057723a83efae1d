# ruff: noqa: RUF001 (letters of other alphabets, on purpose)
"""Bytes in the encodings of the world: read right, or refused; never read as another."""

import codecs
import os

import pytest
import webencodings
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.corpus.parsing.decode import decode_html, decode_text
from tasks.errors import ParseError

MANY = int(os.environ.get("ALMANAC_WORLD_EXAMPLES", "0"))
"""How many examples of each property; 0: a few hundred."""
SENTENCES = {
    "L'année dernière, la société a fermé son entrepôt à Orléans et déménagé à Besançon; personne n'a été licencié.": (
        "cp1252",
        "latin-1",
    ),
    "Der Preis beträgt 40 € – „günstig“ für alle Gäste, die über Nürnberg fahren und früh zurückkehren müssen.": (
        "cp1252",
    ),
    "El año pasado la compañía cerró el almacén de Málaga y trasladó la producción a otro país.": ("cp1252",),
    "Spółka zamknęła magazyn w Łodzi i przeniosła produkcję gdzie indziej, ponieważ koszty wzrosły zbyt mocno.": (
        "cp1250",
        "iso-8859-2",
    ),
    "Şirket geçen yıl İzmir'deki deposunu kapattı ve bütün ışıkları söndürdü; çalışanlar başka şehre taşındı.": (
        "cp1254",
    ),
    "Заполните журнал при аварии и позвоните дежурному, потом напишите короткий отчёт.": ("cp1251", "koi8-r"),
    "Η εταιρεία έκλεισε την αποθήκη στην Αθήνα και μετέφερε την παραγωγή σε άλλη πόλη.": ("cp1253",),
    "הפגישה מתחילה בשלוש, ואחריה כולם הולכים הביתה.": ("cp1255",),
    "会議は三時から始まります。資料を持ってきてください。": ("shift_jis", "euc-jp", "iso-2022-jp"),
    "发生故障时，请先给值班人员打电话，然后填写记录表。": ("gb2312", "gbk", "gb18030"),
    "發生故障時，請先打電話給值班人員，然後填寫紀錄表。": ("big5",),
    "회의는 세 시에 시작합니다. 자료를 가지고 오십시오.": ("euc-kr",),
}
CASES = [(text, encoding) for text, encodings in SENTENCES.items() for encoding in encodings]
UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize(("text", "encoding"), CASES)
def test_a_sentence_is_read_in_the_encodings_of_its_language(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding)) == text


def read_right_or_refused(case: tuple[str, str], start: int, length: int) -> None:
    text, encoding = case
    if " " in text:
        words = text.split()
        cut = " ".join((words + words)[start % len(words) :][: max(5, length)])
    else:
        cut = text[start % 10 :][: max(8, length)]
    try:
        assert decode_text(cut.encode(encoding)) == cut
    except ParseError as error:
        assert error.code == "encoding"


_CUTS = (st.sampled_from(CASES), st.integers(0, 30), st.integers(5, 30))


@settings(max_examples=MANY or 500)
@given(*_CUTS)
def test_a_part_of_a_sentence_is_read_right_or_refused(case: tuple[str, str], start: int, length: int) -> None:
    read_right_or_refused(case, start, length)


@settings(max_examples=MANY or 300)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.sampled_from(UNICODE[:3] + UNICODE[5:]))
def test_every_text_of_unicode_comes_back(text: str, encoding: str) -> None:
    if not text.startswith("\ufeff"):
        assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("iso-8859-1", "cp1252", "40 € – günstig"),
        ("latin1", "cp1252", "“quoted”"),
        ("us-ascii", "cp1252", "café"),
        ("gb2312", "gb18030", "请先给朱镕基打电话喆"),
        ("x-sjis", "cp932", "会議は①時から"),
        ("ks_c_5601-1987", "cp949", "회의는 똠방각하"),
        ("iso-8859-9", "cp1254", "ışık – €"),
    ],
)
def test_a_label_means_what_browsers_take_it_for(label: str, codec: str, text: str) -> None:
    page = f'<html><head><meta charset="{label}"></head><body>{text}</body></html>'

    assert text in decode_html(page.encode(codec))


LABELS = sorted(label for label, name in webencodings.LABELS.items() if name != "replacement")


@settings(max_examples=MANY or 500)
@given(st.sampled_from(LABELS), st.data())
def test_a_page_comes_back_from_the_encoding_that_any_label_of_the_web_names(label: str, data: st.DataObject) -> None:
    name = webencodings.lookup(label).name
    codec = {"gbk": "gb18030", "x-user-defined": "cp1252"}.get(name, webencodings.lookup(label).codec_info.name)
    assume(webencodings.lookup(label).name not in {"utf-16le", "utf-16be"})
    text = data.draw(st.text(st.characters(codec=codec, exclude_categories=["Cc", "Cs"]), max_size=40))
    page = f'<html><head><meta charset="{label}"></head><body>{text}</body></html>'.encode(codec)
    if codec != "utf-8":
        assume(not is_utf8(page) or page.isascii())

    assert decode_html(page) == page.decode(codec)


def is_utf8(data: bytes) -> bool:
    try:
        codecs.decode(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    "data",
    [
        "The café in the hall opens at nine. ".encode() + "The café in the annex at ten.".encode("cp1252"),
    ],
)
def test_what_no_encoding_fits_surely_is_refused(data: bytes) -> None:
    with pytest.raises(ParseError, match="UTF-8") as caught:
        decode_text(data)

    assert caught.value.code == "encoding"
