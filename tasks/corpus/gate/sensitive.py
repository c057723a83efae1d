"""Secrets and personal data in a text, by their shapes and checksums; a finding never carries what it found.

Not detect-secrets: its plugins that know a shape take 61 placeholders of 375 published READMEs and test files for
secrets where this takes none, see 11 of the 17 kinds here, and take 110 times the CPU seconds; those that guess take
every text for one (`benchmarks/find_secrets.py`).

Formulas only. Each pattern is tried only where a literal or enough digits are in the text, and is bounded, so that a
hostile text of ten megabytes costs linear time.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Where something was found, and what kind of thing, without the thing itself.

    Attributes:
        kind: a stable word, such as `github-token` or `iban`.
        start: offset in the text, in characters.
    """

    kind: str
    start: int


_PLACEHOLDER = re.compile(r"example|xxxx|your|dummy|placeholder|redacted|1234567890|0123456789|abcdefgh|\.\.\.", re.I)
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq"
_MIN_DISTINCT = 8
_REGISTERED_CLAIMS = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})

_SECRETS: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (kind, anchor, re.compile(pattern))
    for kind, anchor, pattern in (
        (
            "private-key",
            "PRIVATE KEY",
            r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,.()-]{100}",
        ),
        ("aws-access-key", "AKIA", r"(?<![A-Za-z0-9])AKIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
        ("aws-access-key", "ASIA", r"(?<![A-Za-z0-9])ASIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
        (
            "aws-secret-key",
            "secret_access_key",
            r"secret_access_key[\"']?\s{0,3}[:=]\s{0,3}[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])",
        ),
        (
            "aws-secret-key",
            "SECRET_ACCESS_KEY",
            r"SECRET_ACCESS_KEY[\"']?\s{0,3}[:=]\s{0,3}[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])",
        ),
        *(("github-token", f"gh{kind}_", rf"(?<![A-Za-z0-9])gh{kind}_[A-Za-z0-9]{{36}}") for kind in "pousr"),
        ("github-token", "github_pat_", r"github_pat_[A-Za-z0-9_]{50}"),
        ("gitlab-token", "glpat-", r"glpat-[A-Za-z0-9_-]{20}"),
        ("slack-token", "xox", r"(?<![A-Za-z0-9])xox[abeoprs]-(?:\d{6,14}-){1,3}[A-Za-z0-9]{16}"),
        (
            "slack-webhook",
            "hooks.slack.com",
            r"hooks\.slack\.com/services/T[A-Z0-9]{7,12}/B[A-Z0-9]{7,12}/[A-Za-z0-9]{20}",
        ),
        ("stripe-key", "k_live_", r"(?<![A-Za-z0-9])[rs]k_live_[A-Za-z0-9]{24}"),
        ("google-api-key", "AIza", r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
        ("openai-key", "T3BlbkFJ", r"sk-[A-Za-z0-9_-]{16,100}T3BlbkFJ[A-Za-z0-9_-]{16}"),
        ("anthropic-key", "sk-ant-", r"sk-ant-[a-z]{3,8}\d\d-[A-Za-z0-9_-]{60}"),
        ("hugging-face-token", "hf_", r"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]{34}(?![A-Za-z0-9_])"),
        ("pypi-token", "pypi-AgE", r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50}"),
        ("npm-token", "npm_", r"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9_])"),
        ("sendgrid-key", "SG.", r"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
        ("azure-storage-key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
        (
            "json-web-token",
            "eyJ",
            r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20}",
        ),
    )
)
"""Kind, a literal that a cheap `in` looks for first, and the whole shape."""


def find_secrets(text: str) -> list[Finding]:
    """Credentials of well-known shape, without documented examples and placeholders, in order of kind."""
    return [
        Finding(kind, match.start())
        for kind, anchor, pattern in _SECRETS
        if anchor in text
        for match in pattern.finditer(text)
        if not _is_example(kind, match.group())
    ]


def _is_example(kind: str, secret: str) -> bool:
    if _AZURITE_KEY in secret:
        return True
    if kind == "json-web-token":
        return not _is_credential(secret)
    if kind == "private-key":
        return len(set(secret.rpartition("-----")[2])) < 2 * _MIN_DISTINCT
    return bool(_PLACEHOLDER.search(secret)) or len(set(secret[-16:])) < _MIN_DISTINCT


def _is_credential(token: str) -> bool:
    """A token of a manual has a made-up payload or the subject of jwt.io; a real one has registered claims."""
    payload = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        return False
    if not isinstance(claims, dict) or claims.get("sub") == "1234567890":
        return False
    return bool(_REGISTERED_CLAIMS & claims.keys())


_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@((?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24})(?![A-Za-z0-9@])"
)
_NO_PERSON = re.compile(
    r"(?:git|noreply|no-reply|info|support|contact|hello|security|admin|user|username|me|you|foo|bar)@", re.I
)
_NO_MAIL_HOST = re.compile(
    r"(?:.*\.)?(?:example(?:\.[a-z]{2,3})?|test|invalid|localhost|local|png|jpe?g|gif|svg|webp|py|js|git)$", re.I
)
_PHONE = re.compile(r"(?<![\w+.])\+\d[\d ().-]{7,20}\d(?!\w)|(?<![\w(.-])\(\d{3}\) ?\d{3}-\d{4}(?![\w-])")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_CARD = re.compile(
    r"(?<![\d.,_-])[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?![\d.,_-]\d|\d)"
    r"|(?<![\d.,_-])3\d{3}[ -]?\d{6}[ -]?\d{5}(?!\d)"
)
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_MIN_DIGITS = 9
_NUMBER = re.compile(r"[0-9](?:[ .()-]{0,2}[0-9]){8}|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}")
_DOCUMENTED_NUMBERS = frozenset(
    {
        *("4111111111111111", "4242424242424242", "5555555555554444", "378282246310005", "4000056655665556"),
        *("123456789", "078051120", "219099999"),
    }
)


def find_personal_data(text: str) -> list[Finding]:
    """E-mail addresses, international telephone numbers, IBANs, card numbers and US social security numbers.

    IBANs and cards must carry a right checksum (ISO 7064 mod 97-10, Luhn); reserved and documented examples do
    not count.
    """
    findings = [Finding("email", match.start()) for match in _emails(text)]
    if not _may_hold_numbers(text):
        return findings
    for kind, pattern, holds in _NUMBERS:
        findings += [Finding(kind, match.start()) for match in pattern.finditer(text) if holds(match.group())]
    return findings


def _may_hold_numbers(text: str) -> bool:
    """A cheap look at all texts, so that the patterns, which start with a look behind, see few of them."""
    data = text.encode("utf-8", "replace")
    num_digits = len(data) - len(data.translate(None, b"0123456789"))
    return num_digits >= _MIN_DIGITS and bool(_NUMBER.search(text))


def _emails(text: str) -> Iterator[re.Match[str]]:
    if "@" not in text:
        return
    for match in _EMAIL.finditer(text):
        if not _NO_PERSON.match(match.group()) and not _NO_MAIL_HOST.match(match.group(1)):
            yield match


def _digits(number: str) -> str:
    return "".join(character for character in number if character.isdigit())


def _is_phone(number: str) -> bool:
    return 9 <= len(_digits(number)) <= 15 and "555" not in number and len(set(_digits(number))) > 3


def is_iban(number: str) -> bool:
    """Return whether the check digits hold (ISO 13616, ISO 7064 mod 97-10)."""
    compact = number.replace(" ", "")
    moved = compact[4:] + compact[:4]
    return 15 <= len(compact) <= 34 and int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def is_card(number: str) -> bool:
    """Return whether the Luhn digit holds and the number is no documented test number."""
    digits = _digits(number)
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits))]
    checksum = sum(value - 9 if value > 9 else value for value in doubled)
    return 13 <= len(digits) <= 19 and checksum % 10 == 0 and len(set(digits)) > 3 and digits not in _DOCUMENTED_NUMBERS


def _is_social_security_number(number: str) -> bool:
    return _digits(number) not in _DOCUMENTED_NUMBERS


_NUMBERS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("phone", _PHONE, _is_phone),
    ("iban", _IBAN, is_iban),
    ("card", _CARD, is_card),
    ("social-security-number", _SSN, _is_social_security_number),
)
