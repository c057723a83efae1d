"""An answer on its way: waited for as long as somebody wants it, then sent whole or as a stream of events."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from dataclasses import dataclass

from fastapi import Request

from serving.api.batching import Ticket
from serving.api.chat_response import Completion, chunks, event, first_chunk
from serving.api.errors import ApiError, as_event_error
from serving.api.service import ChatQuestion, Service
from tasks.answer.assistant import Reply

KEEP_ALIVE_SECONDS = 5.0
DISCONNECT_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Pending:
    """An answer on its way."""

    future: "asyncio.Future[Reply]"
    ticket: Ticket
    deadline: float

    async def wait(self, seconds: float) -> bool:
        """Wait for a while; whether it is there.

        Raises:
            ApiError: 503 behind the deadline.
        """
        await asyncio.wait({self.future}, timeout=seconds)
        if not self.future.done() and time.monotonic() > self.deadline:
            raise ApiError(
                503,
                "the answer must come within ALMANAC_REQUEST_TIMEOUT_SECONDS and did not; try again later",
                kind="server_error",
                code="timeout",
                headers={"Retry-After": "10"},
            )
        return self.future.done()

    def reply(self) -> Reply:
        """The answer that is there.

        Raises:
            ApiError: the server stops.
        """
        try:
            return self.future.result()
        except (CancelledError, asyncio.CancelledError) as error:
            raise ApiError(503, "the server stops; ask again", kind="server_error", code="stopping") from error


def begin(service: Service, asked: ChatQuestion) -> Pending:
    """Take a slot and answer in a thread.

    Raises:
        ApiError: 429 where no slot is free.
    """
    service.answers.take()
    ticket = Ticket()
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(service.answer_threads, service.answer, asked, ticket)
    future.add_done_callback(_heard)
    return Pending(future, ticket, time.monotonic() + service.settings.request_timeout_seconds)


def _heard(future: "asyncio.Future[Reply]") -> None:
    """Nobody asks for the failure of a request whose client has left; asyncio would complain."""
    if not future.cancelled():
        future.exception()


async def answered(pending: Pending, request: Request) -> Reply:
    """Wait for the answer, as long as somebody wants it."""
    try:
        while not await pending.wait(DISCONNECT_POLL_SECONDS):
            if await request.is_disconnected():
                break
    finally:
        pending.ticket.cancel()
    if not pending.future.done():
        raise ApiError(400, "the client left")
    return pending.reply()


async def events(entry: Completion, pending: Pending, *, include_usage: bool) -> AsyncIterator[bytes]:
    """The stream: the role at once, comments while the answer is made and checked, then its text."""
    try:
        yield first_chunk(entry)
        while not await pending.wait(KEEP_ALIVE_SECONDS):
            yield b": the answer is being written and checked\n\n"
        for chunk in chunks(entry, pending.reply(), include_usage=include_usage):
            yield chunk
    except Exception as error:  # noqa: BLE001 - the status is sent: whatever happens now must end the stream in words
        yield event(as_event_error(error).body())
    finally:
        pending.ticket.cancel()
