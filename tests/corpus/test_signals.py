"""Formulas of the document gate: damage, hidden text, boilerplate, language, secrets, personal data, copies."""

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.gate.near_duplicates import NUM_HASHES, NearDuplicates, signatures
from tasks.corpus.gate.sensitive import find_personal_data, find_secrets, is_card, is_iban
from tasks.corpus.gate.signals import boilerplate_share, encoding_damage, hidden_characters, language

MIXED = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5cD7eF9gH1jK3mL5nP7qR9sT1uV3wX5yZ7bC9dF1gH3jK5mN7pQ9rS1tU3vW5xZ7aE9cG1"
UPPER = "Q7RZ2MKD4WXT5LJH"


def token(claims: dict[str, object]) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, MIXED[:43]])


SECRETS = {
    "aws-access-key": "AKIA" + UPPER,
    "aws-secret-key": "aws_secret_access_key = " + MIXED[:40],
    "github-token": "ghp_" + MIXED[:36],
    "gitlab-token": "glpat-" + MIXED[:20],
    "slack-token": "xoxb-" + "817203945562-" + MIXED[:24],
    "slack-webhook": "https://hooks.slack.com/services/" + "T0A1B2C3D/B4E5F6G7H/" + MIXED[:24],
    "stripe-key": "sk_live_" + MIXED[:24],
    "google-api-key": "AIza" + MIXED[:35],
    "openai-key": "sk-" + MIXED[:20] + "T3BlbkFJ" + MIXED[20:40],
    "anthropic-key": "sk-ant-" + "api03-" + MIXED[:95],
    "hugging-face-token": "hf_" + MIXED[:34],
    "pypi-token": "pypi-" + "AgEIcHlwaS5vcmc" + MIXED[:60],
    "npm-token": "npm_" + MIXED[:36],
    "sendgrid-key": "SG." + MIXED[:22] + "." + MIXED[22:65],
    "azure-storage-key": "AccountKey=" + MIXED[:86] + "==",
    "json-web-token": token({"sub": "ann", "exp": 1893456000}),
    "private-key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + MIXED[:64] + "\n" + MIXED[10:74] + "\n",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secret_is_found_with_its_kind_and_place(kind: str) -> None:
    (finding,) = find_secrets(f"Set it so:\n{SECRETS[kind]}\nand go on.")
    assert finding.kind == kind
    assert finding.start in range(11, 60)


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
        "ghp_" + "x" * 36,
        "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789",
        "sk_live_" + "your_key_here_0000000000",
        "-----BEGIN PRIVATE " + "KEY-----\n...\n-----END PRIVATE KEY-----",
        "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
        token({"some": "payload"}),
        token({"sub": "1234567890", "name": "John Doe", "iat": 1516239022}),
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    ],
)
def test_documented_example_is_no_secret(text: str) -> None:
    assert find_secrets(text) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "Write to ann.lee@corp.org, please."),
        ("phone", "Call +49 30 1234 5678 before noon."),
        ("phone", "Call (212) 664-7665 before noon."),
        ("iban", "Pay to DE89 3704 0044 0532 0130 00."),
        ("card", "Card 4539 1488 0343 6467 was charged."),
        ("social-security-number", "SSN 536-22-8714 on file."),
    ],
)
def test_personal_data_is_found_with_its_kind(kind: str, text: str) -> None:
    assert [finding.kind for finding in find_personal_data(text)] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com and git@github.com and logo@2x.png and noreply@corp.org",
        "Version 2026.11.22.1 of 1700000000000 at 192.168.100.200",
        "DE89 3704 0044 0532 0130 01",
        "4539 1488 0343 6468 or 4111 1111 1111 1111",
        "078-05-1120 and 000-12-3456",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_reserved_numbers_and_wrong_checksums_are_no_personal_data(text: str) -> None:
    assert find_personal_data(text) == []


def test_checksums_catch_a_single_wrong_digit() -> None:
    assert is_iban("GB82WEST12345698765432")
    assert not is_iban("GB82WEST12345698765431")
    assert is_card("6011000990139424")
    assert not is_card("6011000990139425")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize(
    "text", ["cr\u00e8me br\u00fbl\u00e9e", "Pi\u0119\u0107 \u0142osi", "\u043f\u0440\u0438\u0432\u0435\u0442"]
)
def test_text_read_in_a_wrong_encoding_is_damaged(encoding: str, text: str) -> None:
    damaged = text.encode().decode(encoding, "replace")
    assert encoding_damage(damaged) > 0.2


def test_replacement_characters_are_damage() -> None:
    assert encoding_damage("caf\ufffd") == 0.25


@pytest.mark.parametrize(
    "text",
    [
        "Cr\u00e8me br\u00fbl\u00e9e, na\u00efve caf\u00e9\u2026\u201d, \u00ab\u00a0CAF\u00c9\u00bb",
        "\u00c5ngstr\u00f6m, S\u00c3O PAULO, \u00deing",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
        "\u4f60\u597d\uff0c\u4e16\u754c \U0001f44d",
        "",
    ],
)
def test_good_text_in_many_scripts_is_not_damaged(text: str) -> None:
    assert encoding_damage(text) == 0.0


@pytest.mark.parametrize(
    "style",
    ["display: none", "visibility:hidden", "font-size:0px", "opacity: 0", "color:#fff", "margin:0;color: White"],
)
def test_text_that_a_browser_would_not_show_is_hidden(style: str) -> None:
    assert hidden_characters(f'<p>seen</p><span class="x" style="{style}">hidden</span>') == 6


@pytest.mark.parametrize(
    "style", ["display:block", "font-size: 0.8em", "opacity:0.5", "background-color:#fff", "background:#000;color:#fff"]
)
def test_styled_text_that_is_shown_is_not_hidden(style: str) -> None:
    assert hidden_characters(f'<span style="{style}">seen</span>') == 0


def test_boilerplate_is_the_share_of_badges_links_and_phrases() -> None:
    badge = "[![build](https://ci.test/b.svg)](https://ci.test)"
    assert boilerplate_share(f"{badge}\n{badge}\n") == 1.0
    assert boilerplate_share("Accept all cookies\nIt measures 18 chars") == pytest.approx(18 / 38)
    assert boilerplate_share("See the [manual](https://docs.test) for the rules.") == 0.0
    assert boilerplate_share("") == 0.0


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "The index is kept fresh and it leaves the documents that did not change, with their vectors."),
        ("de", "Der Index bleibt frisch, denn er liest nur die Dokumente, die sich wirklich ge\u00e4ndert haben."),
        ("fr", "Le chat dort sur le canap\u00e9 pendant que la pluie tombe doucement sur les toits."),
        ("und", "`pip install x` https://x.test 1.2.3"),
        ("und", ""),
    ],
)
def test_language_of_the_prose_is_told(code: str, text: str) -> None:
    assert language(text) == code


def near(texts: list[str]) -> list[tuple[str | None, float]]:
    found = NearDuplicates().add([str(index) for index in range(len(texts))], texts)
    return [(nearest.document_id, nearest.similarity) for nearest in found]


def prose(seed: int, num_words: int = 80) -> list[str]:
    return [f"word{(seed * 7919 + index * index * 31) % 5003}" for index in range(num_words)]


def test_copy_is_found_whatever_its_case_and_punctuation() -> None:
    text = " ".join(prose(1))
    assert near([text, text.upper().replace(" ", ", ")])[1] == ("0", 1.0)


def test_edited_copy_is_similar_and_another_text_is_not() -> None:
    edited = prose(1)
    edited[40] = "edited"
    _, (other, similarity), unrelated = near([" ".join(prose(1)), " ".join(edited), " ".join(prose(2))])
    assert other == "0"
    assert similarity > 0.8
    assert unrelated[1] < 0.5


def test_flood_of_edits_of_one_text_costs_linear_time() -> None:
    text = " ".join(prose(1))
    started = time.process_time()
    found = near([f"{text} {index}" for index in range(5000)])
    assert all(similarity > 0.8 for _, similarity in found[1:])
    assert time.process_time() - started < 5


@given(st.lists(st.text(max_size=60), max_size=8), st.text(max_size=60))
def test_signature_of_a_text_does_not_depend_on_its_neighbours(others: list[str], text: str) -> None:
    together = signatures([*others, text, *others])
    assert together.shape == (2 * len(others) + 1, NUM_HASHES)
    assert (together[len(others)] == signatures([text])[0]).all()


@pytest.mark.parametrize(
    "unit", ["a", "1 ", "1234 ", "@a", "a.", "[", '<p style="display:none">', "eyJ", "+1 ", "\u00c3"]
)
def test_hostile_text_of_a_million_characters_costs_linear_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    for measure in (find_secrets, find_personal_data, encoding_damage, hidden_characters, boilerplate_share, language):
        measure(text)
    assert time.process_time() - started < 5
