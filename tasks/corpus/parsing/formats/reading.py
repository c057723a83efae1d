"""What a format's reader returns, and the refusal that all of them share."""

from dataclasses import dataclass

from tasks.errors import ParseError


@dataclass(frozen=True, slots=True)
class Reading:
    """Text of one file, as its author's program shows it.

    Attributes:
        text: Markdown.
        title: as the file's own metadata carries it, or ''.
        num_hidden: characters that the author's program does not show, and that were left out.
        num_pages: pages of a PDF, else 0.
        num_empty_pages: those of them that are not blank and give no text: scans, mostly.
    """

    text: str
    title: str = ""
    num_hidden: int = 0
    num_pages: int = 0
    num_empty_pages: int = 0

    def metadata(self) -> dict[str, str]:
        """Return what the document's metadata tells of the reading: only what is not zero."""
        counts = {"left_out_characters": self.num_hidden, "pages_without_text": self.num_empty_pages}
        counted = {name: str(count) for name, count in counts.items() if count}
        return counted | ({"pages": str(self.num_pages)} if self.num_empty_pages else {})


def damaged(message: object) -> ParseError:
    """Return the refusal of a file whose inside is not what its ending says."""
    shown = " ".join(str(message).split())[:200]
    return ParseError("damaged", f"the file must be what its ending says, found: {shown}; repair or replace it")
