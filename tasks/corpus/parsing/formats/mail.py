"""Mail (.eml) to Markdown: subject, people and date, then the plain text as it was sent, else the HTML."""

import email
import email.policy
from email.message import EmailMessage, MIMEPart

from tasks.corpus.parsing.formats.html import read_html
from tasks.corpus.parsing.formats.reading import Reading, damaged

_FIELDS = ("Subject", "From", "To", "Cc", "Date")


def read_mail(data: bytes) -> Reading:
    """Read an .eml file.

    Raises:
        ParseError: `damaged`.
    """
    message = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)
    fields = [f"**{name}**: {_field(message, name)}" for name in _FIELDS if _field(message, name)]
    body = message.get_body(("plain", "html"))
    if not fields and body is None:
        raise damaged("neither a head nor a text of a mail")
    reading = Reading("") if body is None else _read_body(body)
    names = [part.get_filename() for part in message.iter_attachments() if part.get_filename()]
    listed = [f"Attachments: {', '.join(map(str, names))}"] if names else []
    text = "\n\n".join(part for part in (*fields, reading.text.strip("\n"), *listed) if part)
    return Reading(text, _field(message, "Subject"), reading.num_hidden)


def _field(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError):  # the library stumbles over fields that are no mail addresses
        return ""


def _read_body(body: MIMEPart) -> Reading:
    content = body.get_content()
    if body.get_content_subtype() == "html":
        return read_html(content.encode("utf-8", "replace"))
    return Reading(str(content).replace("\r\n", "\n"))
