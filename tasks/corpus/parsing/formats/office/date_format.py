"""Dates and times as a spreadsheet's format shows them; a date with year, month and day as ISO 8601."""

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Protocol

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MAX_SERIAL = 2_958_466
_FALSE_LEAP_DAY = 60


class Piece(Protocol):
    """A piece of a format: its kind and its letters."""

    @property
    def kind(self) -> str:
        """`date`, `elapsed`, `ampm`, or what is shown as it is."""

    @property
    def text(self) -> str:
        """The letters."""


def date_text(value: float, tokens: Sequence[Piece], *, since_1904: bool) -> str:
    """Return a serial number of days as the format shows it, '' where there is no such day."""
    decimals = sum(len(token.text) for token in _fractions(tokens))
    seconds = (Decimal(repr(value)) * 86400).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    letters = _roles(tokens)
    if not any(role[0] in "ymd" for role in letters if role):
        return _joined(tokens, letters, seconds, None)
    moment = _moment(seconds, since_1904=since_1904)
    if moment is None:
        return ""
    shown = [place for place, role in enumerate(letters) if role and role[0] in "yMd"]
    if {letters[place][0] for place in shown} != {"y", "M", "d"}:
        return _joined(tokens, letters, seconds, moment)
    before = _joined(tokens[: shown[0]], letters[: shown[0]], seconds, moment)
    behind = _joined(tokens[shown[-1] + 1 :], letters[shown[-1] + 1 :], seconds, moment)
    return " ".join(f"{before} {moment.date().isoformat()} {behind.lstrip('年月日,.')}".split())


def _fractions(tokens: Sequence[Piece]) -> Iterator[Piece]:
    for token, following in pairwise(tokens):
        if token.kind == "point" and following.kind == "digits":
            yield following


def _moment(seconds: Decimal, *, since_1904: bool) -> dt.datetime | None:
    days = int(seconds // 86400)
    if not 0 <= days < _MAX_SERIAL:
        return None
    if since_1904:
        begin = dt.datetime(1904, 1, 1)
    else:  # 1900 counts as a leap year there: day 60 is a 29 February that never was
        begin = dt.datetime(1899, 12, 30) if days >= _FALSE_LEAP_DAY else dt.datetime(1899, 12, 31)
    return begin + dt.timedelta(seconds=float(seconds))


def _roles(tokens: Sequence[Piece]) -> list[str]:
    """What each piece stands for: `yyyy`, `MM` for months, `mm` for minutes, `hh`, `ss`; '' for signs between."""
    roles = ["" if token.kind not in {"date", "elapsed"} else token.text for token in tokens]
    places = [place for place, role in enumerate(roles) if role]
    for number, place in enumerate(places):
        if roles[place][0] != "m" or tokens[place].kind == "elapsed":
            continue
        before = roles[places[number - 1]][0] if number else ""
        behind = roles[places[number + 1]][0] if number + 1 < len(places) else ""
        if before != "h" and behind != "s":
            roles[place] = roles[place].upper()
    return ["dddd" if role.startswith("a") and len(role) >= 3 else role.replace("e", "y") for role in roles]


def _joined(tokens: Sequence[Piece], roles: Sequence[str], seconds: Decimal, moment: dt.datetime | None) -> str:
    twelve_hours = any(token.kind == "ampm" for token in tokens)
    parts = []
    for token, role in zip(tokens, roles, strict=True):
        if token.kind == "elapsed":
            parts.append(_elapsed(seconds, role))
        elif token.kind == "ampm":
            parts.append(("AM", "PM")[seconds % 86400 >= 43200][: 1 if token.text == "a/p" else 2])
        elif role:
            parts.append(_part(role, seconds, moment, twelve_hours=twelve_hours))
        elif token.kind == "digits":
            parts.append(f"{seconds % 1:f}".partition(".")[2].ljust(len(token.text), "0")[: len(token.text)])
        elif token.kind != "at":
            parts.append(token.text)
    return "".join(parts).strip()


def _elapsed(seconds: Decimal, role: str) -> str:
    unit = {"h": 3600, "m": 60, "s": 1}[role[0]]
    sign = "-" if seconds < 0 else ""
    return sign + str(int(abs(seconds) // unit)).rjust(len(role), "0")


def _part(role: str, seconds: Decimal, moment: dt.datetime | None, *, twelve_hours: bool) -> str:
    if role[0] in "hms":
        number = int(seconds % 86400 // {"h": 3600, "m": 60, "s": 1}[role[0]])
        number = number if role[0] == "h" else number % 60
        number = (number % 12 or 12) if twelve_hours and role[0] == "h" else number
        return str(number).rjust(min(len(role), 2), "0")
    return "" if moment is None else _date_part(role, moment)


def _date_part(role: str, moment: dt.datetime) -> str:
    length = len(role)
    if role[0] == "y":
        return str(moment.year) if length > 2 else f"{moment.year % 100:02}"
    if role[0] == "M":
        name = _MONTHS[moment.month - 1]
        return (str(moment.month), f"{moment.month:02}", name[:3], name, name[0])[min(length, 5) - 1]
    if role[0] == "d":
        name = _DAYS[moment.weekday()]
        return (str(moment.day), f"{moment.day:02}", name[:3], name)[min(length, 4) - 1]
    return ""
