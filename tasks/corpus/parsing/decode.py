"""Bytes to text: byte-order mark, strict UTF-8, then a guess that must be sure of itself."""

import codecs
import re

from tasks.corpus.parsing.guess import guess_encoding
from tasks.errors import ParseError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAX_NUL_SHARE = 0.01
_MIN_WIDE_NUL_SHARE = 0.25
_ISO_2022_JP = re.compile(rb"\x1b(?:\$[@B]|\(J)(?:[!-~]{2})+\x1b\([BJ]")
"""Japanese of seven bits, as mail has it: escapes around pairs of ASCII characters."""
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)


def decode_text(data: bytes) -> str:
    """Return text of the bytes, without the byte-order mark.

    Raises:
        ParseError: `type_mismatch`: the bytes are no text; `encoding`: no encoding fits surely.
    """
    if data.isascii() and b"\0" not in data:
        return _strict(data, "iso2022_jp") if _ISO_2022_JP.search(data) else data.decode("ascii")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strict(data.removeprefix(mark) if encoding == "utf-8" else data, encoding)
    if b"\0" in data:
        return _with_nuls(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _guess(data, error.start)


_AS_BROWSERS = {"gbk": "gb18030", "x-user-defined": "cp1252"}
"""What a page's own declaration means where Python's codec of that name is another one, or none."""


def decode_html(data: bytes) -> str:
    """Return the text of an HTML page, whose `<meta charset>` counts, read as browsers do, where it is not UTF-8.

    Raises:
        ParseError: `encoding`: the bytes are not what the page declares, or nothing declares and none fits surely.
    """
    import webencodings

    declared = _META_CHARSET.search(data[:4096])
    encoding = webencodings.lookup(declared.group(1).decode("ascii")) if declared else None
    if encoding is not None and encoding.name == "iso-2022-jp" and data.isascii():  # seven bits: valid UTF-8 as well
        return _strict(data, "iso2022_jp")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if declared is None:
            return decode_text(data)
    if encoding is None or encoding.name in {"utf-8", "utf-16le", "utf-16be"}:
        return decode_text(data)
    return _strict(data, _AS_BROWSERS.get(encoding.name, encoding.codec_info.name))


def _strict(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        raise ParseError(
            "encoding", f"the text must be valid {encoding} as it declares, found otherwise; save it as UTF-8"
        ) from error


def _with_nuls(data: bytes) -> str:
    num_even, num_odd = data[::2].count(0), data[1::2].count(0)
    middle = max(1, len(data) // 2)
    if num_odd / middle > _MIN_WIDE_NUL_SHARE and num_even / middle < _MAX_NUL_SHARE:
        return _strict(data, "utf-16-le")
    if num_even / middle > _MIN_WIDE_NUL_SHARE and num_odd / middle < _MAX_NUL_SHARE:
        return _strict(data, "utf-16-be")
    if (num_even + num_odd) / len(data) > _MAX_NUL_SHARE:
        raise ParseError("type_mismatch", "the item must be text, found binary data; check its file ending")
    return decode_text(data.replace(b"\0", b""))


def _guess(data: bytes, first_bad: int) -> str:
    _refuse_broken_utf8(data, first_bad)
    encoding = guess_encoding(data)
    if encoding is None:
        raise ParseError("encoding", "the text must be UTF-8 or in a recognisable encoding; save it as UTF-8")
    return _strict(data, encoding)


def _refuse_broken_utf8(data: bytes, first_bad: int) -> None:
    """Bytes that are mostly UTF-8 are damaged UTF-8: another encoding would turn every accent into two letters."""
    text = data.decode("utf-8", "replace")
    num_bad = text.count("\ufffd")
    num_good = sum(1 for character in text if character > "\x7f") - num_bad
    if num_good > num_bad:
        raise ParseError(
            "encoding",
            f"the text must be UTF-8 throughout, found {num_bad} invalid place(s), the first at byte {first_bad}; "
            "it mixes encodings or is cut off: save it as UTF-8",
        )
