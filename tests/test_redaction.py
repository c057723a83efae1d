"""No secret in what people and machines read."""

import io
import logging

import pytest
from pydantic import SecretStr

from tasks.errors import DependencyError, ParseError, without_passwords
from tasks.settings import RedactingFormatter, Settings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MLflow at postgresql://almanac:hunter2@db:5432/mlflow must", "postgresql://almanac:***@db:5432/mlflow"),
        ("clone https://:p@ss:w@rd@git.example/x", "https://:***@git.example/x"),
        ("'s3://bucket/a:b@c' and http://127.0.0.1:5000/x@y", "'s3://bucket/a:b@c' and http://127.0.0.1:5000/x@y"),
        ("no address: a:b@c", "no address: a:b@c"),
    ],
)
def test_address_is_shown_without_its_password(text: str, shown: str) -> None:
    assert shown in without_passwords(text)


def test_no_error_of_ours_holds_a_password() -> None:
    assert str(DependencyError("postgresql://a:secret@db must answer")) == "postgresql://a:***@db must answer"
    assert "secret" not in str(ParseError("damaged", "https://a:secret@host/x"))


def test_log_hides_secret_settings_in_tracebacks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-aws")
    settings = Settings(endpoint_api_key=SecretStr("canary-of-endpoint"), webhook_secret=SecretStr("short"))
    stream, logger = io.StringIO(), logging.Logger("test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter("%(message)s", settings))
    logger.addHandler(handler)

    try:
        raise ValueError("canary-of-aws at postgresql://a:hunter2@db/x")
    except ValueError:
        logger.exception("key %s in a shortbread", "canary-of-endpoint")

    text = stream.getvalue()
    assert "canary" not in text
    assert "hunter2" not in text
    assert text.startswith("key *** in a shortbread\n")
