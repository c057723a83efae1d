"""Numbers as a spreadsheet shows them: percent, currency, thousands, fractions, dates and times by their format code.

Where a format shows year, month and day, the date is written as ISO 8601, whatever their order: `14.04.25` and
`4/14/2025` are both `2025-04-14`. All else is as the format says.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache

from tasks.corpus.parsing.formats.office.date_format import date_text

BUILT_IN = {
    1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 5: '"$"#,##0', 6: '"$"#,##0', 7: '"$"#,##0.00', 8: '"$"#,##0.00',
    9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm",
    17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm",
    27: "yyyy-mm-dd", 28: "yyyy-mm-dd", 29: "yyyy-mm-dd", 30: "yyyy-mm-dd", 31: "yyyy-mm-dd", 32: "h:mm", 33: "h:mm:ss",
    34: "h:mm AM/PM", 35: "h:mm:ss AM/PM", 36: "yyyy-mm-dd", 37: "#,##0;(#,##0)", 38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)", 40: "#,##0.00;(#,##0.00)", 41: "#,##0;-#,##0;-", 42: '"$"#,##0;-"$"#,##0;-',
    43: "#,##0.00;-#,##0.00;-", 44: '"$"#,##0.00;-"$"#,##0.00;-', 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0",
    48: "##0.0E+0", 49: "@", 50: "yyyy-mm-dd", 51: "yyyy-mm-dd", 52: "yyyy-mm-dd", 53: "yyyy-mm-dd", 54: "yyyy-mm-dd",
    55: "h:mm AM/PM", 56: "h:mm:ss AM/PM", 57: "yyyy-mm-dd", 58: "yyyy-mm-dd",
}  # fmt: skip
"""Formats that have a number and no code in the file; 27 to 36 and 50 to 58 are dates and times of East Asia."""

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|_.|\*.|\[(?P<bracket>[^\]]*)\]|(?P<general>General)'
    r"|(?P<ampm>AM/PM|A/P)|(?P<digits>[0#?]+)|(?P<exponent>[Ee][+-])|(?P<date>y+|e+|m+|d+|h+|s+|b+|g+|a{3,4})|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?[\d.]+)")
_TESTS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
    "<=": lambda one, other: one <= other,
    ">=": lambda one, other: one >= other,
    "=": lambda one, other: one == other,
    "<>": lambda one, other: one != other,
}
_MAX_PLAIN = 10**21


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a format: `text` is shown as it is; `digits`, `date`, `ampm`, `elapsed` … stand for the value."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Section:
    tokens: tuple[Token, ...]
    condition: tuple[str, Decimal] | None

    @property
    def is_date(self) -> bool:
        return any(token.kind in {"date", "elapsed", "ampm"} for token in self.tokens)

    @property
    def has_digits(self) -> bool:
        return any(token.kind == "digits" for token in self.tokens)


def show_number(value: float, code: str, *, since_1904: bool = False) -> str:
    """Return a number as a spreadsheet shows it with a format code; '' where the format hides it."""
    number = Decimal(repr(value))
    sections = _sections(code or "General")
    section, shown = _choose(sections, number)
    if section is None:
        return ""
    if section.is_date and not section.has_digits:
        return date_text(value, section.tokens, since_1904=since_1904) or plain(value)
    if any(token.kind == "general" for token in section.tokens):
        general = plain(float(shown))
        return "".join(general if token.kind == "general" else token.text for token in section.tokens).strip()
    try:
        return _numeric(shown, section.tokens).strip()
    except (InvalidOperation, OverflowError):
        return plain(value)


def show_text(text: str, code: str) -> str:
    """Return a text as a spreadsheet shows it: a fourth section of the format may put words around it or hide it."""
    sections = _sections(code or "General")
    if len(sections) < 4:
        return text
    return "".join(text if token.kind == "at" else token.text for token in sections[3].tokens)


def plain(value: float) -> str:
    """Return a number without a format, to the fifteen digits that spreadsheets keep."""
    if value == int(value) and abs(value) < _MAX_PLAIN:
        return str(int(value))
    text = f"{value:.15g}"
    return text if "e" not in text else _without_exponent(text)


def _without_exponent(text: str) -> str:
    exponent = int(text.partition("e")[2])
    return f"{Decimal(text):f}" if -8 < exponent < 21 else text.replace("e", "E")


def _choose(sections: Sequence[_Section], number: Decimal) -> tuple[_Section | None, Decimal]:
    """The section for a number, and the number as it is shown there: one for negatives shows no sign."""
    if any(section.condition for section in sections[:2]):
        for section in sections:
            if section.condition is None or _TESTS[section.condition[0]](number, section.condition[1]):
                return section, number
        return None, number
    if number < 0 and len(sections) > 1:
        return sections[1], -number
    if number == 0 and len(sections) > 2:
        return sections[2], number
    return sections[0], number


@lru_cache(maxsize=512)
def _sections(code: str) -> tuple[_Section, ...]:
    sections: list[list[Token]] = [[]]
    conditions: list[tuple[str, Decimal] | None] = [None]
    for match in _TOKEN.finditer(code):
        if match["other"] == ";":
            sections.append([])
            conditions.append(None)
        elif match["bracket"] is not None and (condition := _CONDITION.fullmatch(match["bracket"])):
            conditions[-1] = (condition[1], Decimal(condition[2]))
        elif token := _token(match):
            sections[-1].append(token)
    return tuple(_Section(tuple(tokens), condition) for tokens, condition in zip(sections, conditions, strict=True))


def _token(match: re.Match[str]) -> Token | None:
    kind = match.lastgroup
    if kind is None:  # a gap or a fill: nothing to read
        return None
    text = match[kind]
    if kind == "bracket":
        if re.fullmatch(r"h+|m+|s+", text, re.IGNORECASE):
            return Token("elapsed", text.lower())
        return Token("text", text[1:].partition("-")[0]) if text.startswith("$") else None
    if kind in {"quoted", "escaped"}:
        return Token("text", text)
    if kind == "other":
        return Token({"@": "at", ".": "point", ",": "comma", "/": "slash", "%": "percent"}.get(text, "text"), text)
    return Token(kind, text if kind == "digits" else text.lower())


# --- numbers ---


def _numeric(number: Decimal, tokens: Sequence[Token]) -> str:
    if not any(token.kind == "digits" for token in tokens):
        number_text = plain(float(number))
        sign = "-" if number < 0 and not any(token.kind == "at" for token in tokens) else ""
        shown = (number_text if token.kind == "at" else token.text for token in tokens if token.kind != "comma")
        return sign + "".join(shown)
    number *= 100 ** sum(token.kind == "percent" for token in tokens)
    if any(token.kind == "exponent" for token in tokens):
        return _scientific(number, tokens)
    if any(token.kind == "slash" for token in tokens):
        return _fraction(number, tokens)
    return _decimal(number, tokens)


def _decimal(number: Decimal, tokens: Sequence[Token]) -> str:
    """Fill the places from the right, so that `000-00` shows 12345 as 123-45."""
    kinds = [token.kind for token in tokens]
    last = max(place for place, kind in enumerate(kinds) if kind == "digits")
    point = next((place for place, kind in enumerate(kinds) if kind == "point"), len(tokens))
    before = [place for place, kind in enumerate(kinds) if kind == "digits" and place < point]
    scale = 0
    behind = last + 1
    while behind < len(kinds) and kinds[behind] == "comma":
        scale, behind = scale + 1, behind + 1
    grouped = any(kinds[place] == "comma" for place in range(min(before, default=0), max(before, default=0)))
    pattern = "".join(token.text for token in tokens[point:] if token.kind == "digits")
    rounded = (number / 1000**scale).quantize(Decimal(1).scaleb(-len(pattern)), ROUND_HALF_UP)
    whole, _, part = f"{abs(rounded):f}".partition(".")
    filled = _fill([tokens[place].text for place in before], whole, grouped=grouped)
    sign = "-" if rounded < 0 else ""
    return sign + _put_together(tokens, point, dict(zip(before, filled, strict=True)), _trimmed(part, pattern))


def _fill(patterns: Sequence[str], digits: str, *, grouped: bool) -> list[str]:
    """Digits cut to the groups of places, the first takes all that are left over."""
    least = sum(pattern.count("0") for pattern in patterns)
    digits = (digits.lstrip("0") or "").rjust(least, "0")
    if grouped:
        return [_with_commas(digits), *[""] * (len(patterns) - 1)] if patterns else []
    parts = []
    for pattern in reversed(patterns[1:]):
        parts.append(digits[-len(pattern) :])
        digits = digits[: -len(pattern)]
    return [digits, *reversed(parts)] if patterns else []


def _with_commas(digits: str) -> str:
    head = len(digits) % 3
    groups = [digits[:head], *(digits[place : place + 3] for place in range(head, len(digits), 3))]
    return ",".join(filter(None, groups))


def _trimmed(part: str, pattern: str) -> str:
    """Decimals without the zeros at the end that `#` does not show."""
    least = pattern.rindex("0") + 1 if "0" in pattern else 0
    return part[:least] + part[least:].rstrip("0")


def _put_together(tokens: Sequence[Token], point: int, whole: dict[int, str], decimals: str) -> str:
    parts = []
    written = False
    for place, token in enumerate(tokens):
        if token.kind == "digits" and place < point:
            parts.append(whole[place])
        elif token.kind == "digits":
            parts.append("" if written else decimals)
            written = True
        elif token.kind == "point":
            parts.append("." if decimals else "")
        elif token.kind not in {"comma", "at"}:
            parts.append(token.text)
    return "".join(parts)


def _scientific(number: Decimal, tokens: Sequence[Token]) -> str:
    kinds = [token.kind for token in tokens]
    turn = kinds.index("exponent")
    point = kinds.index("point") if "point" in kinds[:turn] else turn
    num_decimals = sum(len(token.text) for token in tokens[point:turn] if token.kind == "digits")
    least = sum(len(token.text) for token in tokens[turn:] if token.kind == "digits")
    mantissa, _, exponent = f"{number:.{num_decimals}E}".partition("E")
    sign = "-" if exponent.startswith("-") else "+" if "+" in tokens[turn].text else ""
    return f"{mantissa}E{sign}{exponent.lstrip('+-').rjust(least, '0')}"


def _fraction(number: Decimal, tokens: Sequence[Token]) -> str:
    places = [place for place, token in enumerate(tokens) if token.kind == "digits"]
    slash = next(place for place, token in enumerate(tokens) if token.kind == "slash")
    behind = "".join(token.text for token in tokens[slash + 1 :] if token.kind in {"digits", "text"}).strip()
    has_whole = len([place for place in places if place < slash]) > 1
    limit = 10 ** max(1, len(behind)) - 1
    value = Fraction(abs(number)).limit_denominator(limit)
    if behind.isdigit() and int(behind):
        value = Fraction(round(abs(number) * int(behind)), int(behind))
    whole, rest = divmod(value.numerator, value.denominator) if has_whole else (0, value.numerator)
    shown = f"{rest}/{value.denominator}" if rest or not has_whole else ""
    return ("-" if number < 0 else "") + " ".join(filter(None, (str(whole) if whole or not shown else "", shown)))
