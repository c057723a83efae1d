"""Figures for Prometheus. Labels are routes, outcomes and versions: never a user, a text or an id of a document.

Requests are counted by twenty lines of our own: an instrumentator for FastAPI would replace these alone, for one more
dependency, and the figures of answers would stay.
"""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import Headers

from serving.api.limits import PROBES, Application, Message, Receive, Send
from tasks.answer.assistant import Reply
from tasks.telemetry import note, trace

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        versions = ("index_version", "answerer_version")
        self._requests = Counter("almanac_requests", "Requests.", ("route", "status"), registry=self.registry)
        self._seconds = Histogram(
            "almanac_request_seconds",
            "Seconds of a response.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._answers = Counter("almanac_answers", "Answers.", ("outcome", *versions), registry=self.registry)
        self._answer_seconds = Histogram(
            "almanac_answer_seconds", "Seconds of an answer.", versions, buckets=SECONDS, registry=self.registry
        )
        self._first_seconds = Histogram(
            "almanac_first_text_seconds",
            "Seconds to the first text.",
            versions,
            buckets=SECONDS,
            registry=self.registry,
        )
        self._claims = Counter(
            "almanac_claims", "Claims of answers by verdict.", ("verdict", *versions), registry=self.registry
        )
        self._tokens = Counter("almanac_tokens", "Tokens of models.", ("kind", *versions), registry=self.registry)
        self._cache = Counter("almanac_cache", "Answers by where they came from.", ("event",), registry=self.registry)
        self._batch = Histogram("almanac_batch_size", "Drafts a batch.", buckets=BATCH_SIZES, registry=self.registry)
        self._feedback = Counter(
            "almanac_feedback", "Ratings by what became of them.", ("event",), registry=self.registry
        )

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Show what a function says at the moment of a scrape."""
        Gauge(f"almanac_{name}", meaning, registry=self.registry).set_function(value)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the template of its path."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answer(self, reply: Reply, *, first_seconds: float) -> None:
        """Count an answer by the versions that gave it; `first_seconds`: until its first text."""
        versions = (reply.index_version, reply.answerer_version)
        self._answers.labels(reply.answer.outcome, *versions).inc()
        self._first_seconds.labels(*versions).observe(first_seconds)
        for claim in reply.answer.claims:
            self._claims.labels(claim.verdict, *versions).inc()
        self._cache.labels("hit" if reply.cached else "miss").inc()
        self._answer_seconds.labels(*versions).observe(reply.seconds)
        self._tokens.labels("prompt", *versions).inc(reply.answer.num_prompt_tokens)
        self._tokens.labels("completion", *versions).inc(reply.answer.num_completion_tokens)

    def batch(self, size: int) -> None:
        """Count a batch of drafts."""
        self._batch.observe(size)

    def feedback(self, event: str) -> None:
        """Count a rating: `accepted`, then `delivered`, `replaced`, `refused` or `expired`."""
        self._feedback.labels(event).inc()

    def text(self) -> bytes:
        """Return all figures in Prometheus's text format."""
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware: counts requests and their seconds by the template of their route."""

    def __init__(self, app: Application, *, metrics: Metrics) -> None:
        """Count what `app` answers."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on and time it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(route, status, time.monotonic() - started)


class Correlated:
    """ASGI middleware: each request but the probes is a trace, or a part of its caller's; the response names it."""

    def __init__(self, app: Application) -> None:
        """Stand before `app`."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on within its trace."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        with trace("request", traceparent=Headers(scope=scope).get("traceparent"), method=scope["method"]) as identity:

            async def send_named(message: Message) -> None:
                if message["type"] == "http.response.start":
                    note(status=message["status"], route=getattr(scope.get("route"), "path", "other"))
                    message["headers"] = [*message.get("headers", []), (b"x-request-id", identity.encode())]
                await send(message)

            await self._app(scope, receive, send_named)
