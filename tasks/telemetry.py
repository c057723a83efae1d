"""One id for all that a question, or a run, sets going: response, log lines, MLflow's trace and OpenTelemetry's.

Spans go to the collector of `OTEL_EXPORTER_OTLP_ENDPOINT`; without one nothing of OpenTelemetry is imported and only
the id is left. The tracer is ours alone: neither MLflow's spans nor Prefect's meet it, since a span of another trace
above an answer's would keep MLflow from writing the answer. A span holds names, counts and versions, never a text.
"""

import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
SERVICE = "almanac"

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE = "0" * 32

P = ParamSpec("P")
R = TypeVar("R")
Value = str | int | float | bool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where this thread is: within which trace and, where spans are taken, which span."""

    correlation_id: str
    context: "Context | None"


_PLACE: ContextVar[_Place | None] = ContextVar("place", default=None)


def correlation_id() -> str | None:
    """Return the id of what this thread works on, 32 hex characters; None outside of a trace."""
    place = _PLACE.get()
    return place.correlation_id if place else None


@contextmanager
def trace(name: str, *, traceparent: str | None = None, **attributes: Value) -> Iterator[str]:
    """Begin a trace, or go on with the caller's; its id is given.

    Args:
        name: of the first span.
        traceparent: the header of a caller that traces too (W3C Trace Context); another form of it counts as none.
        attributes: of the first span.
    """
    match = _TRACEPARENT.fullmatch(traceparent or "")
    above = match[1] if match and match[1] != _NO_TRACE else None
    tracer = _tracer()
    if tracer is None:
        with _at(_Place(above or uuid.uuid4().hex, None)) as place:
            yield place.correlation_id
        return
    with _opened(tracer, name, _context_of(traceparent) if above else None, attributes) as place:
        yield place.correlation_id


@contextmanager
def span(name: str, **attributes: Value) -> Iterator[None]:
    """Time a part of a trace; outside of one, or where nobody takes spans, nothing happens."""
    place, tracer = _PLACE.get(), _tracer()
    if place is None or tracer is None:
        yield
        return
    with _opened(tracer, name, place.context, attributes):
        yield


def note(**attributes: Value) -> None:
    """Add to the span that this thread is in what is known only now."""
    place = _PLACE.get()
    if place is not None and place.context is not None:
        from opentelemetry.trace import get_current_span

        get_current_span(place.context).set_attributes({f"almanac.{key}": value for key, value in attributes.items()})


def in_trace(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make each call of a function, such as a flow's, a trace of its own."""

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with trace(name):
                return function(*args, **kwargs)

        return called

    return decorated


@contextmanager
def _at(place: _Place) -> Iterator[_Place]:
    token = _PLACE.set(place)
    try:
        yield place
    finally:
        _PLACE.reset(token)


@contextmanager
def _opened(tracer: "Tracer", name: str, above: "Context | None", attributes: dict[str, Value]) -> Iterator[_Place]:
    from opentelemetry.context import Context
    from opentelemetry.trace import set_span_in_context

    # An empty context, not None: that would be the one of whoever else traces in this process.
    named = {f"almanac.{key}": value for key, value in attributes.items()}
    opened = tracer.start_span(name, context=above or Context(), attributes=named)
    try:
        with _at(_Place(f"{opened.get_span_context().trace_id:032x}", set_span_in_context(opened, Context()))) as place:
            yield place
    except BaseException as error:
        _fail(opened, error)
        raise
    finally:
        opened.end()


def _fail(opened: "Span", error: BaseException) -> None:
    """Mark a span by the kind of error: a message may hold what somebody asked."""
    from opentelemetry.trace import Status, StatusCode

    if isinstance(error, Exception):
        opened.set_status(Status(StatusCode.ERROR, type(error).__name__))


def _context_of(traceparent: str | None) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent or ""}, Context())


def spans_endpoint() -> str:
    """Return where spans go, empty: nowhere; and keep the general variable from MLflow.

    With it set MLflow sends figures whose labels are the tags of each trace, the beginning of the question among them.
    """
    general = os.environ.pop(ENDPOINT, "")
    if general:
        os.environ.setdefault(TRACES_ENDPOINT, f"{general.rstrip('/')}/v1/traces")
    return os.environ.get(TRACES_ENDPOINT, "")


def _tracer() -> "Tracer | None":
    provider = _provider(spans_endpoint())
    return provider.get_tracer("almanac") if provider else None


@lru_cache(maxsize=4)
def _provider(endpoint: str) -> "TracerProvider | None":
    """The provider that sends to an endpoint, made at the first span of a process."""
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("no spans are sent to %s: install the extra `otel` (pip install 'almanac-rag[otel]')", endpoint)
        return None
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
    service = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE}
    provider = TracerProvider(resource=Resource.create(service))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def flush_spans() -> None:
    """Send what waits; a process that ends by itself does so anyway."""
    provider = _provider(spans_endpoint())
    if provider is not None:
        provider.force_flush()
