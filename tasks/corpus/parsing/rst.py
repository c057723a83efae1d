"""reStructuredText to Markdown: headings, code, links, tables as text; what is unknown keeps its words.

Many packages' READMEs are reStructuredText. Ours stays since Kreuzberg 4.10 escapes doctests (in 43 of 134 READMEs),
drops list tables and the bodies of directives it does not know, and ends its process at a simple table that is not
ASCII.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import dedent

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+[ \t]*\Z")
_RULE_OF_TABLE = re.compile(r"[ ]*(?:=+(?:[ ]+=+)+|\+[-=+]+\+)[ ]*\Z")
_EXPLICIT = re.compile(r"(?P<indent>[ ]*)\.\.(?:[ ]+(?P<rest>.*))?\Z")
_DIRECTIVE = re.compile(r"(?:\|(?P<sub>[^|]+)\|[ ]+)?(?P<name>[A-Za-z][\w:.+-]*?)[ ]?::(?:[ ]+(?P<argument>.*))?\Z")
_TARGET = re.compile(r"_(?P<name>`[^`]+`|(?:\\:|[^:`])+):[ ]*(?P<url>.*)\Z")
_FOOTNOTE = re.compile(r"(\[[^\]]+\].*)\Z")
_OPTION = re.compile(r"[ ]*:[\w-]+:(?:[ ].*)?\Z")
_ITEM = re.compile(r"[ ]*(?:[*+-]|\(?(?:\d+|[A-Za-z#])[.)])[ ]+")
_FIELD = re.compile(r"^([ ]*):([^:\n`]+):(?=[ ]|$)", re.MULTILINE)
_INLINE = re.compile(
    r"``(?P<literal>[^`]+(?:`[^`]+)*)``"
    r"|:[\w:.+-]+:`(?P<role>[^`]+)`"
    r"|`(?P<text>[^`<]*?)\s*<(?P<address>[^<>`]+)>`_{1,2}"
    r"|(?<![\w`])`(?P<phrase>[^`]+)`(?P<is_link>_{1,2})?(?!\w)"
    r"|\|(?P<sub>[^|\s](?:[^|\n]*[^|\s])?)\|_{0,2}"
    r"|(?<![\w.:/`-])(?P<word>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)_(?![\w`])"
)
_MAX_DEPTH = 12
"""Directives nested deeper stay as they are written: a hostile file must not cost more."""
_CODE = {"code", "code-block", "sourcecode", "parsed-literal", "prompt", "testcode", "doctest"}
_SILENT = {"image", "contents", "toctree", "meta", "raw", "include", "highlight", "index", "sectnum", "default-role"}
_ADMONITIONS = {"note", "warning", "tip", "important", "hint", "caution", "danger", "attention", "error", "seealso"}


def rst_to_markdown(text: str) -> tuple[str, int]:
    """Return Markdown of a reStructuredText document, and how many characters of comments are not in it.

    Headings get their levels from the order in which their styles appear; tables stay as they are, in a fence.
    """
    lines = [line.rstrip() for line in text.expandtabs(4).replace("\r\n", "\n").split("\n")]
    names = _names(lines)
    converter = _Converter(names)
    markdown = "\n\n".join(block for block in converter.convert(lines) if block.strip()) + "\n"
    return markdown, converter.num_hidden


@dataclass(frozen=True, slots=True)
class _Names:
    """What is defined anywhere in a document: addresses of targets, texts of substitutions."""

    targets: Mapping[str, str]
    substitutions: Mapping[str, str]


def _names(lines: Sequence[str]) -> _Names:
    targets: dict[str, str] = {}
    substitutions: dict[str, str] = {}
    for line in lines:
        explicit = _EXPLICIT.match(line)
        rest = explicit["rest"] if explicit else None
        if not rest:
            continue
        if target := _TARGET.match(rest):
            targets[_normal(target["name"])] = target["url"].strip()
        elif (directive := _DIRECTIVE.match(rest)) and directive["sub"]:
            is_text = directive["name"] in {"replace", "unicode"}
            substitutions[directive["sub"]] = (directive["argument"] or "") if is_text else ""
    return _Names(targets, substitutions)


def _normal(name: str) -> str:
    return " ".join(name.strip("`").replace("\\:", ":").lower().split())


@dataclass(slots=True)
class _Converter:
    """Converts lines block by block; it remembers the heading styles that it has met."""

    names: _Names
    styles: list[str] = field(default_factory=list)
    depth: int = 0
    num_hidden: int = 0

    def convert(self, lines: Sequence[str]) -> Iterator[str]:
        """Yield Markdown blocks of the lines."""
        at = 0
        while at < len(lines):
            if not lines[at].strip():
                at += 1
                continue
            for read in (self._heading, self._explicit, self._doctest, self._table):
                if (parsed := read(lines, at)) is not None:
                    break
            else:
                parsed = self._paragraph(lines, at)
            block, at = parsed
            yield block

    def _heading(self, lines: Sequence[str], at: int) -> tuple[str, int] | None:
        line, following = lines[at], lines[at + 1 : at + 3]
        if _ADORNMENT.match(line):
            if len(following) == 2 and following[0].strip() and following[1] == line:
                return self._titled(following[0], f"over{line[0]}"), at + 3
            return ("---", at + 1) if len(line) >= 4 and (not following or not following[0].strip()) else None
        if following and line[0] != " " and _is_underline(following[0], line):
            return self._titled(line, following[0][0]), at + 2
        return None

    def _titled(self, title: str, style: str) -> str:
        if style not in self.styles:
            self.styles.append(style)
        level = min(6, self.styles.index(style) + 1)
        said = self._inline(title.strip()).strip()
        return f"{'#' * level} {said}" if said else ""  # a heading may be a logo alone

    def _explicit(self, lines: Sequence[str], at: int) -> tuple[str, int] | None:
        match = _EXPLICIT.match(lines[at])
        if match is None:
            return None
        end = _end_of_indented(lines, at + 1, len(match["indent"]))
        body = lines[at + 1 : end]
        rest = match["rest"] or ""
        if _TARGET.match(rest) or rest.startswith("__"):
            return "", end
        if footnote := _FOOTNOTE.match(rest):
            return self._inline("\n".join([footnote[1], *(line.strip() for line in body)]).strip()), end
        directive = _DIRECTIVE.match(rest)
        if directive is None:
            self.num_hidden += sum(len(line.strip()) for line in (rest, *body))
            return "", end
        if directive["sub"]:
            return "", end
        return self._directive(directive["name"].lower(), directive["argument"] or "", body), end

    def _directive(self, name: str, argument: str, body: Sequence[str]) -> str:
        content = _without_options(body)
        if name in _SILENT:
            return ""
        if name in _CODE:
            return _fenced(content, argument.partition(" ")[0]) if content else ""
        inner = self._nested(dedent("\n".join(content)))
        if name == "figure":
            return inner
        if name in _ADMONITIONS:
            return f"**{name.capitalize()}:** {self._inline(argument)} {inner}".replace("**  ", "** ").rstrip()
        return "\n\n".join(filter(None, (self._inline(argument), inner)))

    def _nested(self, text: str) -> str:
        if self.depth >= _MAX_DEPTH:
            return text
        self.depth += 1
        inner = "\n\n".join(filter(str.strip, self.convert(text.split("\n"))))
        self.depth -= 1
        return inner

    def _doctest(self, lines: Sequence[str], at: int) -> tuple[str, int] | None:
        if not lines[at].lstrip().startswith(">>> "):
            return None
        end = _end_of_block(lines, at)
        return _fenced(lines[at:end], "pycon"), end

    def _table(self, lines: Sequence[str], at: int) -> tuple[str, int] | None:
        if not _RULE_OF_TABLE.match(lines[at]):
            return None
        end = _end_of_block(lines, at)
        # A simple table may hold blank lines; it ends with the last rule of its own kind.
        for later in range(end, min(len(lines), end + 200)):
            if lines[later] == lines[at] and not any(_ADORNMENT.match(line) for line in lines[end:later]):
                return _fenced(lines[at : later + 1], ""), later + 1
        return _fenced(lines[at:end], ""), end

    def _paragraph(self, lines: Sequence[str], at: int) -> tuple[str, int]:
        end = at + 1
        while end < len(lines) and lines[end].strip() and not lines[end - 1].endswith("::"):
            if self._starts_block(lines, end):
                break
            end += 1
        text = "\n".join(lines[at:end])
        if not text.endswith("::"):
            return self._inline(_plain(text)), end
        code_end = _end_of_indented(lines, end, _content_indent(lines, at, end))
        said = "" if text.strip() == "::" else self._inline(_plain(text[:-1].removesuffix(" :")))
        code = lines[end:code_end]
        return "\n\n".join(filter(None, (said, _fenced(code, "") if any(code) else ""))), code_end

    def _starts_block(self, lines: Sequence[str], at: int) -> bool:
        """Markup that some authors put right below a paragraph, without the blank line that belongs there."""
        underlined = at + 1 < len(lines) and lines[at][0] != " " and _is_underline(lines[at + 1], lines[at])
        return underlined or bool(_EXPLICIT.match(lines[at]) and lines[at].strip() != "..")

    def _inline(self, text: str) -> str:
        return _INLINE.sub(self._replaced, _FIELD.sub(r"\1**\2**:", text)).replace("\\ ", "")

    def _replaced(self, match: re.Match[str]) -> str:
        if match["literal"]:
            return f"`{match['literal']}`"
        if match["role"]:
            return f"`{match['role'].partition(' <')[0].lstrip('~!')}`"
        if match["address"]:
            address = match["address"].strip()
            url = self.names.targets.get(_normal(address.removesuffix("_")), "") if address.endswith("_") else address
            return _link(match["text"] or address, url)
        if match["phrase"]:
            target = self.names.targets.get(_normal(match["phrase"])) if match["is_link"] else None
            return _link(match["phrase"], target or "") if match["is_link"] else f"*{match['phrase']}*"
        if match["sub"]:
            return self.names.substitutions.get(match["sub"], match.group())
        url = self.names.targets.get(_normal(match["word"]))
        return match.group() if url is None else _link(match["word"], url)


def _link(text: str, url: str) -> str:
    url = "".join(url.split())
    return f"[{text}]({url})" if url and not url.endswith("_") else text


def _plain(text: str) -> str:
    """Line blocks without their bars, and automatic numbers as numbers."""
    return re.sub(r"^([ ]*)#\.", r"\g<1>1.", re.sub(r"^[ ]*\|(?:[ ]|$)(?![^\n]*\|$)", "", text, flags=re.M), flags=re.M)


def _is_underline(line: str, title: str) -> bool:
    return bool(_ADORNMENT.match(line)) and not _ADORNMENT.match(title) and len(line) >= min(4, len(title.rstrip()))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _content_indent(lines: Sequence[str], at: int, end: int) -> int:
    """Where the text of a paragraph begins: code that it introduces is indented by more."""
    item = _ITEM.match(lines[at])
    return item.end() if item and end == at + 1 else _indent(lines[end - 1])


def _end_of_block(lines: Sequence[str], at: int) -> int:
    return next((number for number in range(at, len(lines)) if not lines[number].strip()), len(lines))


def _end_of_indented(lines: Sequence[str], at: int, indent: int) -> int:
    """The line after the last one that is indented by more than `indent`."""
    end = at
    for number in range(at, len(lines)):
        if lines[number].strip():
            if _indent(lines[number]) <= indent:
                break
            end = number + 1
    return end


def _without_options(body: Sequence[str]) -> list[str]:
    at = 0
    while at < len(body) and _OPTION.match(body[at]):
        at += 1
    return list(body[at:])


def _fenced(lines: Sequence[str], language: str) -> str:
    code = dedent("\n".join(lines)).strip("\n")
    fence = "~~~" if "```" in code else "```"
    return f"{fence}{language}\n{code}\n{fence}"
