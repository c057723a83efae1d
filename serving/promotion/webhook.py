"""MLflow's webhook: a signed hint that an alias moved. It only makes the watcher ask at once; MLflow stays the truth.

The signature is MLflow's: `v1,` and base64 of HMAC-SHA256 over `<delivery id>.<timestamp>.<body>`.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from fastapi import APIRouter, HTTPException, Request

from tasks.settings import Settings

PATH = "/webhooks/mlflow"
MAX_BODY_BYTES = 65_536
MAX_AGE_SECONDS = 300
MAX_DELIVERIES = 4096
"""Delivery ids that are remembered, those of the window and more: MLflow sends one at an alias's move."""
_VERSION = "v1,"
_DELIVERY = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_TIMESTAMP = re.compile(r"\d{1,12}")


class Deliveries:
    """The deliveries of the time window; each is taken once."""

    def __init__(self, *, window_seconds: float = MAX_AGE_SECONDS, most: int = MAX_DELIVERIES) -> None:
        """Remember `most` deliveries for twice the window: a timestamp may lie on either side of now."""
        self._window, self._most = window_seconds, most
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, delivery: str) -> bool:
        """Say whether this delivery is new.

        Raises:
            OverflowError: more came within the window than are remembered; none is taken, so that none comes twice.
        """
        now = time.monotonic()
        with self._lock:
            while self._seen and next(iter(self._seen.values())) < now - 2 * self._window:
                self._seen.popitem(last=False)
            if delivery in self._seen:
                return False
            if len(self._seen) >= self._most:
                raise OverflowError("too many deliveries")
            self._seen[delivery] = now
            return True


def webhook_router(settings: Settings, poll_now: Callable[[], None]) -> APIRouter:
    """Return the route; without `ALMANAC_WEBHOOK_SECRET` there is none to see.

    Args:
        settings: `webhook_secret`.
        poll_now: called for each genuine delivery; must return at once.
    """
    router = APIRouter()
    deliveries = Deliveries()
    secret = settings.webhook_secret.get_secret_value().encode() if settings.webhook_secret else b""

    @router.post(PATH, status_code=202, summary="MLflow's hint that an alias moved", include_in_schema=False)
    async def moved(request: Request) -> dict[str, str]:
        if not secret:
            raise HTTPException(404, "no such thing")
        body = await _body(request)
        delivery = _checked(request.headers, body, secret, deliveries)
        poll_now()
        return {"delivery": delivery}

    return router


async def _body(request: Request) -> bytes:
    """Read the body, no further than it may be long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"a delivery must have at most {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _checked(headers: Mapping[str, str], body: bytes, secret: bytes, deliveries: Deliveries) -> str:
    """Return the delivery's id; nothing of the body is read before its signature was found good."""
    delivery = headers.get("x-mlflow-delivery-id", "")
    timestamp = headers.get("x-mlflow-timestamp", "")
    if not _DELIVERY.fullmatch(delivery) or not _TIMESTAMP.fullmatch(timestamp):
        raise HTTPException(400, "a delivery must have an id and a timestamp in seconds")
    if not _is_signed(headers.get("x-mlflow-signature", ""), secret, f"{delivery}.{timestamp}.".encode() + body):
        raise HTTPException(401, "the signature must be of this secret")
    if abs(time.time() - int(timestamp)) > MAX_AGE_SECONDS:
        raise HTTPException(401, f"a delivery must be at most {MAX_AGE_SECONDS} seconds old")
    _check_body(body)
    try:
        if not deliveries.take(delivery):
            raise HTTPException(409, "this delivery came before")
    except OverflowError as error:
        raise HTTPException(429, "too many deliveries", headers={"Retry-After": "60"}) from error
    return delivery


def _is_signed(signature: str, secret: bytes, content: bytes) -> bool:
    if not signature.startswith(_VERSION):
        return False
    try:
        given = base64.b64decode(signature.removeprefix(_VERSION), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, hmac.new(secret, content, hashlib.sha256).digest())


def _check_body(body: bytes) -> None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "a delivery must be JSON") from error
    if not isinstance(content, dict) or not {"entity", "action"} <= content.keys():
        raise HTTPException(400, "a delivery must say `entity` and `action`")
