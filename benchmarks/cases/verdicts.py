"""When the result of a case is right: its `expected`, which is prose, as a condition.

Each condition holds for any result that the prose allows: `rejected` and `left out` count where it says so.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

Verdict = Callable[[Any], bool]
_INVALID = "invalid_metadata"


def is_right(name: str, got: Any, folder: Path) -> bool:
    """Whether a result is right; of a case that was right before (`ok_…`): whether it is as it was.

    Raises:
        KeyError: the case has no condition here yet.
    """
    if name.startswith("ok_"):
        before = json.loads((folder / "expect.json").read_text(encoding="utf-8"))["got"]
        return bool(got == json.loads(before))
    try:
        return bool(VERDICTS[name](got))
    except (TypeError, AttributeError, IndexError, ValueError):  # a result of another shape than the condition reads
        return False


def _all(condition: Verdict) -> Verdict:
    return lambda got: bool(got) and all(map(condition, got.values()))


def _is_rejected(value: Any) -> bool:
    return isinstance(value, str) and (value == _INVALID or value.startswith("REJECTED "))


def _holds(*parts: str, none_of: tuple[str, ...] = ()) -> Verdict:
    """All texts of the result together hold the parts, and none of the others."""

    def condition(got: Any) -> bool:
        text = "\n".join(map(str, got.values()))
        return all(part in text for part in parts) and not any(part in text for part in none_of)

    return condition


def _matches(*patterns: str) -> Verdict:
    return lambda got: all(re.search(pattern, "\n".join(map(str, got.values())), re.S) for pattern in patterns)


def _hr_or_rejected(value: Any) -> bool:
    if isinstance(value, list) and value and isinstance(value[0], list):
        return value[0] == ["hr"] and not re.search("layout|access", value[1])
    return value in (["hr"], _INVALID)


def _still_visible(got: Any) -> bool:
    return len(got["found"]) == 6 and got["found after week 2"] == got["found"]


def _all_released(number: int) -> Verdict:
    return lambda got: isinstance(got, dict) and got.get("accepted") == number and bool(got.get("release"))


def _french_or_rejected(got: Any) -> bool:
    mixed = got["mixed.txt"]
    return {"été", "société"} <= set(re.findall(r"\w+", got["fr.txt"])) and (
        mixed == "REJECTED encoding" or mixed.count("café") == 2
    )


def _titles_and_text(got: Any) -> bool:
    pages = [value for name, value in got.items() if name.endswith(".html")]
    starts = all(text.startswith(("# Pump", "Start")) and "title:" not in text for _, text in pages)
    chunks = all(chunk.strip() != "---" and not chunk.startswith("---") for chunk in got["chunks"])
    return got["entity.html"][0] == "T & C" and starts and chunks and "title:" not in str(got["headings"])


def _two_columns(got: Any) -> bool:
    text = " ".join(got["report.pdf"].split())
    return "reviewed the annual report in full. It found" in text and "- full" not in text


def _only_documents(got: Any) -> bool:
    parsed, refreshed = got
    return len(parsed["documents"]) == 2 and not parsed["rejected"] and _all_released(2)(refreshed)


def _dates(got: Any) -> bool:
    text = got["plan.xlsx"]
    return text.count("2025-04-14") == 2 and "00:00" not in text and re.search(r"47[.,]50? ?%", text) is not None


def _is_doubted(text: Any) -> bool:
    return text.startswith(("ABSTAINED", "UNVERIFIED"))


_asked: Verdict = _all(lambda reason: reason is None)
_first: Verdict = _all(lambda ranks: set(ranks.values()) == {1})

VERDICTS: dict[str, Verdict] = {
    "abstains_for_capitals": _asked,
    "abstains_for_number_format": _asked,
    "access_duplicate_key": _all(lambda value: value == _INVALID),
    "access_front_matter_ignored": lambda got: len(got) == 4 and _all(_hr_or_rejected)(got),
    "access_front_matter_other_formats": lambda got: len(got) == 2 and _all(_hr_or_rejected)(got),
    "answer_changes_operators": _holds("2**8", "**kwargs"),
    "answer_loses_angle_brackets": _holds("<name>", "p<alpha and", "List<String>"),
    "bad_date_hides_everything": _still_visible,
    "base64_picture_in_markdown": _all(lambda value: value[0] in (1, 2) and value[1] == 0),
    "chat_image_in_history": lambda got: got[0] == 200,
    "chat_lone_surrogate": _all(lambda status: status in (200, 400)),
    "cors_preflight": lambda got: got in (200, 204),
    "docx_bold_in_table": _holds("REQ_001", none_of=("\\*",)),
    "docx_entities_lost": _holds("AT&T", "R&D", "x<5", "p>0.01", "<10 mg", ">10 mg", '"quoted"', "it's", "café"),
    "docx_tabs_lost": _matches(r"Breaker\s+F12\s+Kitchen outlets", "two[-\u2011]X9"),
    "draft_pages_answered": lambda got: got == {},
    "encoding_guessed_wrong": _french_or_rejected,
    "encoding_guessed_wrong_3": _all(lambda text: text.startswith("Заполните") or text == "REJECTED encoding"),
    "epub_chapter_lost": _matches("Sowing.*Harvest"),
    "escaped_punctuation": _holds("R&D", "<", "FB & Two", none_of=("\\&", "\\<", "&#9;", "R& D")),
    "expiry_beyond_year_9999": lambda got: isinstance(got, dict) and got["accepted"] > 0 and got["release"] > 0,
    "feed_older_version_wins": _holds("ten bar"),
    "feed_order_of_numbered_files": _holds("ten bar"),
    "folder_with_pictures_refused": _all_released(10),
    "gate_rule_with_a_plain_date": lambda got: (isinstance(got, dict) and got["release"] > 0) or "zone" in got,
    "git_lfs_pointer_indexed": lambda got: len(got) == 2 and _all(_is_rejected)(got),
    "hidden_slide_and_sheet": _holds("Opening", none_of=("secret", "Secret", "900000", "very hidden")),
    "hidden_text_in_word": _all(
        lambda value: value["hidden measured"] > 0 or not re.search("7{5}|9{5}", value["text"])
    ),
    "html_charset_labels": lambda got: _holds("40 €", "–")(got) and not any(map(_is_rejected, got.values())),  # noqa: RUF001
    "html_title_in_text": _titles_and_text,
    "http_listing_sort_links": _only_documents,
    "pdf_code_lines_joined": _matches(r"def main.*\n\s*for arg.*\n\s*print.*\n\s*return 0"),
    "pdf_prose_as_table": _holds("nine to five on weekdays.", "on public holidays.", "urgent cases.", none_of=("|",)),
    "pdf_scanned_pages_dropped": lambda got: len(got) == 2 and _all(lambda value: value not in ({}, "empty"))(got),
    "pdf_two_columns": _two_columns,
    "pptx_order": _matches("Alpha.*Omega", "mention the discount"),
    "schedule_not_checked": _all(lambda value: value == "refused"),
    "search_acronym_stop_word": _first,
    "search_chinese": _first,
    "search_flags_and_symbols": _first,
    "search_long_identifier": _first,
    "supports_other_identifier_or_sign": _all(_is_doubted),
    "table_header_lost": lambda got: got["chunks"] == got["that know the header"] > 1,
    "title_of_markdown": lambda got: got == {"README.md": "Pumpkit", "list.md": "list", "quote.md": "quote"},
    "traces_in_the_working_folder": lambda got: got == {"inside the home": True, "inside the working folder": False},
    "xlsx_dates_percent": _dates,
}
