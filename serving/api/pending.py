"""An answer on its way: waited for as long as somebody wants it, then sent whole or as a stream of events."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial

from fastapi import Request

from serving.api.batching import Ticket
from serving.api.chat_response import Completion, TextStream, event, first_chunk, last_chunks, text_chunk
from serving.api.errors import ApiError, as_event_error, late
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
    pieces: "asyncio.Queue[str | None]"

    async def next_piece(self, seconds: float) -> str | None:
        """Return what was written next; empty where nothing was for a while, None behind the end.

        Raises:
            ApiError: 503 behind the deadline.
        """
        try:
            return await asyncio.wait_for(self.pieces.get(), seconds)
        except TimeoutError:
            await self.wait(0)
            return ""

    async def wait(self, seconds: float) -> bool:
        """Wait for a while; whether it is there.

        Raises:
            ApiError: 503 behind the deadline.
        """
        await asyncio.wait({self.future}, timeout=seconds)
        if not self.future.done() and time.monotonic() > self.deadline:
            raise late("answer", "ALMANAC_REQUEST_TIMEOUT_SECONDS")
        return self.future.done()

    def reply(self) -> Reply:
        """Return the answer that is there.

        Raises:
            ApiError: the server stops.
        """
        try:
            return self.future.result()
        except (CancelledError, asyncio.CancelledError) as error:
            raise ApiError(503, "the server stops; ask again", kind="server_error", code="stopping") from error


def begin(service: Service, asked: ChatQuestion, *, is_streamed: bool) -> Pending:
    """Take a slot and answer in a thread.

    Raises:
        ApiError: 429 where no slot is free.
    """
    service.answers.take()
    ticket = Ticket()
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[str | None] = asyncio.Queue()

    def emit(piece: str) -> None:
        if ticket.cancelled:
            raise CancelledError
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    def finished(future: "asyncio.Future[Reply]") -> None:
        # Nobody asks for the failure of a request whose client has left; asyncio would complain.
        if not future.cancelled():
            future.exception()
        pieces.put_nowait(None)

    # Whatever thread answers, it works on this request: its id goes along.
    here = copy_context()
    run = partial(here.run, service.answer, asked, ticket, emit if is_streamed else None)
    future = loop.run_in_executor(service.answer_threads, run)
    future.add_done_callback(finished)
    return Pending(future, ticket, time.monotonic() + service.settings.request_timeout_seconds, pieces)


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
    """Send the role at once, the text as it is written, comments while nothing comes, then what the check says."""
    try:
        yield first_chunk(entry)
        stream = TextStream()
        while (piece := await pending.next_piece(KEEP_ALIVE_SECONDS)) is not None:
            if text := stream.add(piece):
                yield text_chunk(entry, text)
            elif not piece:
                yield b": the answer is being written\n\n"
        for chunk in last_chunks(entry, pending.reply(), stream, include_usage=include_usage):
            yield chunk
    except Exception as error:  # noqa: BLE001 - the status is sent: whatever happens now must end the stream in words
        yield event(as_event_error(error).body())
    finally:
        pending.ticket.cancel()
