"""A page of a site: its canonical address, its links, what its author says to robots, and its main part as HTML."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit, urlunsplit

from tasks.corpus.parsing.decode import decode_html

_FURNITURE = (
    "//nav | //footer | //aside | //script | //noscript | //template | //iframe | //form"
    " | //header[not(ancestor::main or ancestor::article)]"
    " | //*[@role='navigation' or @role='banner' or @role='contentinfo' or @role='search' or @role='complementary']"
)
_MAIN = ("//main", "//*[@role='main']", "//article")
_MIN_MAIN_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says of itself.

    Attributes:
        canonical: its own address, as it names it.
        links: absolute addresses, empty where it asks not to follow them.
        is_indexed: False where it asks to be left out.
        main: the page as UTF-8 HTML without navigation, header, footer and scripts.
    """

    canonical: str
    links: tuple[str, ...]
    is_indexed: bool
    main: bytes


def read_page(data: bytes, url: str, *, main_part: bool) -> Page:
    """Read one HTML page.

    Raises:
        ParseError: `encoding`: it can't be decoded.
    """
    from lxml import html

    text = decode_html(data)
    if not text.strip():
        return Page(url, (), True, data)
    tree = html.document_fromstring(text.encode(), parser=html.HTMLParser(encoding="utf-8", huge_tree=False))
    base = urljoin(url, next(iter(tree.xpath("//base/@href")), ""))
    robots = " ".join(tree.xpath("//meta[translate(@name, 'ROBTS', 'robts')='robots']/@content")).lower()
    says_none = "none" in robots
    follows = not says_none and "nofollow" not in robots
    return Page(
        canonical=_canonical(tree, base, url),
        links=tuple(dict.fromkeys(_links(tree, base))) if follows else (),
        is_indexed=not says_none and "noindex" not in robots,
        main=main_of(tree) if main_part else text.encode(),
    )


def normal_url(url: str) -> str:
    """Return an address as one key: no fragment, small letters in scheme and host, no default port, a path."""
    parts = urlsplit(urldefrag(url.strip())[0])
    host = (parts.hostname or "").lower()
    port = {"http": 80, "https": 443}.get(parts.scheme)
    netloc = host if parts.port in {None, port} else f"{host}:{parts.port}"
    return urlunsplit((parts.scheme.lower(), netloc, parts.path or "/", parts.query, ""))


def _canonical(tree: Any, base: str, url: str) -> str:
    """A canonical address of another host is another site's claim, and none of ours."""
    address = next(iter(tree.xpath("//link[translate(@rel, 'CANONICL', 'canonicl')='canonical']/@href")), "")
    try:
        canonical = normal_url(urljoin(base, address)) if address.strip() else normal_url(url)
    except ValueError:
        return normal_url(url)
    return canonical if urlsplit(canonical).netloc == urlsplit(normal_url(url)).netloc else normal_url(url)


def _links(tree: Any, base: str) -> Iterator[str]:
    for link in tree.xpath("//a[@href]"):
        if "nofollow" in (link.get("rel") or "").lower():
            continue
        try:
            address = normal_url(urljoin(base, link.get("href")))
        except ValueError:  # `http://[`: no address
            continue
        if address.startswith(("http://", "https://")):
            yield address


def main_of(tree: Any) -> bytes:
    """Return a page without what is the same on every page; all of it where it has no main part worth the name."""
    from lxml import html

    num_before = len(tree.text_content())
    for element in tree.xpath(_FURNITURE):
        element.drop_tree()
    for comment in tree.xpath("//comment()"):
        comment.drop_tree()
    title = next(iter(tree.xpath("//head/title")), None)
    styles = tree.xpath("//head/style")  # what they hide stays hidden
    main = next((elements[0] for path in _MAIN if len(elements := tree.xpath(path)) == 1), None)
    if main is None or len(main.text_content()) < num_before * _MIN_MAIN_SHARE:
        main = tree.find("body")
    page = html.Element("html")
    head, body = html.Element("head"), html.Element("body")
    page.extend([head, body])
    head.append(html.Element("meta", charset="utf-8"))
    head.extend([*([title] if title is not None else []), *styles])
    if main is not None:
        body.extend(list(main) if main.tag == "body" else [main])
        body.text = main.text if main.tag == "body" else None
    return bytes(html.tostring(page, encoding="utf-8"))
