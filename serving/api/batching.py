"""Generation batched across requests: who asks within a few milliseconds of each other is answered in one batch.

Eight clients get 1.6 times as many answers a second as one (docs/benchmarks.md, "Serving"). Ours stays since the
continuous batching of transformers, on a CPU, ended the server at 7.3 GB with the first request.

One thread runs the models, so that a batch has the machine to itself. How many may wait is bounded where requests
come in (`serving.api.limits.Slots`), since a request also searches before it is here.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from tasks.answer.generators.base import BatchesItself, Generation, Generator, JsonFormat, JsonGenerator, TextStream
from tasks.errors import ConfigurationError

WINDOW_SECONDS = 0.005
"""How long the first of a batch waits for others; little beside the seconds of a generation."""

POLL_SECONDS = 0.2
"""How soon a request gives back its slot when its client has left."""


class Ticket:
    """One request's place; once it is cancelled, its drafts are not generated."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Give the place up: whoever asked has left."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the place was given up."""
        return self._cancelled.is_set()


TICKET: ContextVar[Ticket | None] = ContextVar("almanac_ticket", default=None)
"""The ticket of the request that runs; `asyncio.to_thread` carries it into the thread."""


@dataclass(frozen=True, slots=True)
class _Draft:
    generator: Generator
    messages: Sequence[Mapping[str, str]]
    max_new_tokens: int
    ticket: Ticket | None
    future: "Future[Generation]" = field(default_factory=Future)

    def goes_with(self, other: "_Draft") -> bool:
        return self.generator is other.generator and self.max_new_tokens == other.max_new_tokens


class Batcher:
    """A queue of drafts and the thread that generates them, first come, first served."""

    def __init__(self, *, max_batch: int, observe: Callable[[int], None] = lambda _: None) -> None:
        """Generate up to `max_batch` drafts at a time; `observe` is told each batch's size."""
        self._max_batch, self._observe = max_batch, observe
        self._waiting: deque[_Draft] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._models = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="almanac-generation", daemon=True)

    @property
    def num_waiting(self) -> int:
        """Drafts that wait for a batch."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread behind the running batch; what waits is cancelled."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        for draft in self._waiting:
            draft.future.cancel()

    def wrap(self, generator: Generator) -> Generator:
        """Return the generator with its drafts batched; one that makes batches by itself as it is."""
        return generator if isinstance(generator, BatchesItself) else BatchingGenerator(generator, self)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the models to oneself, between two batches.

        Raises:
            CancelledError: the request's ticket was cancelled before its turn came, or the server stops.
        """
        ticket = TICKET.get()
        while not self._models.acquire(timeout=POLL_SECONDS):
            if self._stopped or (ticket is not None and ticket.cancelled):
                raise CancelledError
        try:
            yield
        finally:
            self._models.release()

    def submit(
        self, generator: Generator, messages: Sequence[Mapping[str, str]], max_new_tokens: int
    ) -> "Future[Generation]":
        """Put a draft in the queue."""
        draft = _Draft(generator, messages, max_new_tokens, TICKET.get())
        with self._changed:
            if self._stopped:
                draft.future.cancel()
            else:
                self._waiting.append(draft)
                self._changed.notify_all()
        return draft.future

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                return
            self._observe(len(batch))
            with self._models:
                _generate(batch)

    def _next_batch(self) -> list[_Draft]:
        """Wait for drafts; an empty batch says that it is over."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return []
                deadline = time.monotonic() + WINDOW_SECONDS
                self._changed.wait_for(
                    lambda: len(self._waiting) >= self._max_batch or self._stopped, deadline - time.monotonic()
                )
                batch = self._take()
            if batch:
                return batch

    def _take(self) -> list[_Draft]:
        """Up to `max_batch` drafts of one generator, in order; drafts of others keep their places."""
        alive = [draft for draft in self._waiting if not _is_over(draft)]
        batch = [draft for draft in alive if draft.goes_with(alive[0])][: self._max_batch]
        self._waiting = deque(draft for draft in alive if not any(draft is taken for taken in batch))
        return [draft for draft in batch if draft.future.set_running_or_notify_cancel()]


class BatchingGenerator:
    """A generator whose drafts are batched with those of other requests."""

    def __init__(self, generator: Generator, batcher: Batcher) -> None:
        """Generate with `generator` in the batches of `batcher`."""
        self._generator, self._batcher = generator, batcher

    @property
    def identity(self) -> str:
        """As the generator's."""
        return self._generator.identity

    @property
    def context_length(self) -> int:
        """As the generator's."""
        return self._generator.context_length

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        """Continue the chat, in a batch with whoever asks at the same time.

        Raises:
            CancelledError: the request's ticket was cancelled, or the server stops.
        """
        return _result(self._batcher.submit(self._generator, messages, max_new_tokens))

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        """Continue several chats; each as `generate` would."""
        drafts = [self._batcher.submit(self._generator, messages, max_new_tokens) for messages in conversations]
        return [_result(draft) for draft in drafts]

    def generate_json(
        self, messages: Sequence[Mapping[str, str]], form: JsonFormat, *, max_new_tokens: int
    ) -> Generation:
        """Continue the chat by itself, held to a form.

        Raises:
            ConfigurationError: the model cannot be held to it.
            CancelledError: the request's ticket was cancelled, or the server stops.
        """
        if not isinstance(self._generator, JsonGenerator):
            raise ConfigurationError("`response_format` must be text here: this model cannot be held to a form")
        with self._batcher.alone():
            return self._generator.generate_json(messages, form, max_new_tokens=max_new_tokens)

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        """Continue the chat by itself, not in a batch, yielding the text as it is written; return the whole.

        Raises:
            CancelledError: the request's ticket was cancelled, or the server stops.
        """
        ticket = TICKET.get()
        with self._batcher.alone(), closing(self._generator.stream(messages, max_new_tokens=max_new_tokens)) as stream:
            while True:
                try:
                    piece = next(stream)
                except StopIteration as end:
                    generation: Generation = end.value
                    return generation
                if ticket is not None and ticket.cancelled:
                    raise CancelledError
                yield piece

    def count_tokens(self, text: str) -> int:
        """Return as the generator's."""
        return self._generator.count_tokens(text)

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Return as the generator's."""
        return self._generator.count_prompt_tokens(messages)


def _result(draft: "Future[Generation]") -> Generation:
    """Wait for a draft, but not for one that nobody wants any more: a running batch goes on without us."""
    ticket = TICKET.get()
    while not wait([draft], POLL_SECONDS).done:
        if ticket is not None and ticket.cancelled:
            raise CancelledError
    return draft.result()


def _is_over(draft: _Draft) -> bool:
    if draft.ticket is not None and draft.ticket.cancelled:
        draft.future.cancel()
    return draft.future.cancelled()


def _generate(batch: Sequence[_Draft]) -> None:
    first = batch[0]
    conversations = [draft.messages for draft in batch]
    try:
        generations = first.generator.generate_many(conversations, max_new_tokens=first.max_new_tokens)
    except BaseException as error:  # noqa: BLE001 - each of those who wait must hear of it, whatever it is
        for draft in batch:
            draft.future.set_exception(error)
        return
    for draft, generation in zip(batch, generations, strict=True):
        draft.future.set_result(generation)
