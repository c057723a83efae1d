"""Rules of a style sheet that decide what a page shows: by kind, class, name and attributes, of ancestors too.

Media queries, states (`:hover`) and siblings are passed over: a rule that cannot be read selects nothing.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lxml import etree

_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_AT_RULE = re.compile(r"@(?:media|supports|font-face|keyframes|page)[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_COMPOUND = re.compile(
    r"(?P<kind>[a-z][a-z0-9]*|\*)?(?P<rest>(?:[.#][\w-]+|\[[\w-]+(?:=[\"']?[^\]\"']*[\"']?)?\])*)", re.I
)
_PART = re.compile(
    r"\.(?P<name>[\w-]+)|#(?P<id>[\w-]+)|\[(?P<attribute>[\w-]+)(?:=[\"']?(?P<value>[^\]\"']*)[\"']?)?\]"
)


@dataclass(frozen=True, slots=True)
class Compound:
    """What one element must be; `is_child`: right below the one before it, else anywhere below."""

    kind: str
    classes: frozenset[str]
    identifiers: frozenset[str]
    attributes: tuple[tuple[str, str | None], ...]
    is_child: bool

    def fits(self, element: etree._Element) -> bool:
        """Return whether an element is so."""
        return (
            (not self.kind or self.kind == element.tag)
            and self.classes <= set((element.get("class") or "").split())
            and self.identifiers <= {element.get("id")}
            and all(name in element.attrib and value in {None, element.get(name)} for name, value in self.attributes)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A selector with its declarations."""

    compounds: tuple[Compound, ...]
    declarations: Mapping[str, str]

    def selects(self, element: etree._Element) -> bool:
        """Return whether the rule is for an element."""
        return _fits(self.compounds, element)

    @property
    def keys(self) -> frozenset[str]:
        """What an element must bear one of: a name, a class or a kind of the last compound; empty: any may do."""
        last = self.compounds[-1]
        names = {f"#{name}" for name in last.identifiers} or {f".{name}" for name in sorted(last.classes)[:1]}
        return frozenset(names or ({last.kind} if last.kind else set()))


class StyleSheets:
    """The style of each element of a page, by the rules that hold for every screen and by its own.

    Rules are looked up by what the element bears: a page of a thousand rules and ten thousand elements has ten million
    pairs, hardly any of which meet.
    """

    def __init__(self, sheets: Iterable[str], *, decides: re.Pattern[str]) -> None:
        """Read the rules that declare anything whose name matches `decides`."""
        self._rules: dict[str, list[tuple[int, Rule]]] = defaultdict(list)
        read = (rule for sheet in sheets for rule in read_rules(sheet))
        for place, rule in enumerate(rule for rule in read if any(map(decides.match, rule.declarations))):
            for key in rule.keys or {""}:
                self._rules[key].append((place, rule))
        self._styles: dict[etree._Element, Mapping[str, str]] = {}

    def style(self, element: etree._Element) -> Mapping[str, str]:
        """Return the declarations that hold for an element, the later ones over the earlier."""
        if element not in self._styles:
            self._styles[element] = self._read(element)
        return self._styles[element]

    def _read(self, element: etree._Element) -> Mapping[str, str]:
        bears = [f".{name}" for name in set((element.get("class") or "").split())]
        keys = ["", element.tag, f"#{element.get('id')}", *bears]
        candidates = sorted((entry for key in keys for entry in self._rules.get(key, ())), key=lambda entry: entry[0])
        style: dict[str, str] = {}
        for _, rule in candidates:
            if rule.selects(element):
                style |= rule.declarations
        return style


def read_rules(sheet: str) -> Iterator[Rule]:
    """Yield the rules of a style sheet that hold for every screen, in order."""
    text = _AT_RULE.sub("", _COMMENT.sub("", sheet))
    for selectors, body in _RULE.findall(text):
        for selector in selectors.split(","):
            compounds = _compounds(selector)
            if compounds:
                yield Rule(compounds, declarations_of(body))


def declarations_of(body: str) -> Mapping[str, str]:
    """Return the declarations of a rule, or of an element's own style."""
    pairs = (entry.partition(":")[::2] for entry in body.split(";"))
    return {name.strip().lower(): value.replace("!important", "").strip().lower() for name, value in pairs if value}


def _compounds(selector: str) -> tuple[Compound, ...]:
    """The compounds of a selector; none where it holds what is not known here."""
    compounds: list[Compound] = []
    is_child = False
    for word in selector.replace(">", " > ").split():
        if word == ">":
            is_child = True
            continue
        match = _COMPOUND.fullmatch(word)
        if match is None or not match[0]:
            return ()
        parts = list(_PART.finditer(match["rest"]))
        kind = (match["kind"] or "").lower().replace("*", "")
        compounds.append(
            Compound(
                kind,
                frozenset(part["name"] for part in parts if part["name"]),
                frozenset(part["id"] for part in parts if part["id"]),
                tuple((part["attribute"].lower(), part["value"]) for part in parts if part["attribute"]),
                is_child,
            )
        )
        is_child = False
    return tuple(compounds)


def _fits(compounds: tuple[Compound, ...], element: etree._Element) -> bool:
    *before, last = compounds
    if not last.fits(element):
        return False
    if not before:
        return True
    around = element.iterancestors()
    candidates = (parent for parent in [element.getparent()] if parent is not None) if last.is_child else around
    return any(_fits(tuple(before), candidate) for candidate in candidates)
