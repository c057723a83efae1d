"""What a `params.yaml` of an earlier version lacks, as lines to paste: those of the file that comes with Almanac."""

from collections.abc import Iterator, Sequence
from pathlib import Path

DEFAULT = Path(__file__).parents[2] / "params.yaml"


def lines_to_paste(missing: Sequence[Sequence[str]], default: Path = DEFAULT) -> str:
    """Return the default text of parameters, in the order of the default file; '' where that is not at hand.

    Args:
        missing: where each parameter stands: `("search",)` a whole block, `("search", "fusion")` one of its lines.
        default: the file that has them all.
    """
    if not default.is_file():
        return ""
    text: list[str] = []
    for name, block in _blocks(default.read_text(encoding="utf-8")):
        wanted = {tuple(place[1:2]) for place in missing if place and place[0] == name}
        if () in wanted:
            text += block
        elif wanted:
            lines = [line for key, entry in _entries(block) if (key,) in wanted for line in entry]
            text += [f"{name}:", *lines] if lines else []
    return "\n".join(line.rstrip() for line in text).strip()


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each block with its lines, without what is said above the first."""
    return _cut(text.splitlines(), indent=0)


def _entries(block: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    return _cut(block[1:], indent=2)


def _cut(lines: Sequence[str], *, indent: int) -> Iterator[tuple[str, list[str]]]:
    name, part = "", list[str]()
    for line in lines:
        starts = line[:indent].isspace() or not indent
        if starts and line[indent : indent + 1].isalpha() and ":" in line:
            if name:
                yield name, part
            name, part = line.split(":")[0].strip(), []
        part.append(line)
    if name:
        yield name, part
