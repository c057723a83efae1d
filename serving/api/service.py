"""What the routes share, and the way of a request through a thread to its answer.

What answers is one `Pair`, taken at the start of a request and kept to its end.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from serving.api.auth import Asker, Identity
from serving.api.batching import TICKET, Batcher, Ticket
from serving.api.chat_request import refused_form
from serving.api.errors import ApiError
from serving.api.feedback import FeedbackRequest, FeedbackSpool
from serving.api.limits import Slots
from serving.api.observability.metrics import Metrics
from serving.promotion.pair import Pair
from serving.promotion.status import AnswererStatus, PairStatus
from tasks.answer.answerer import Answerer
from tasks.answer.assistant import Reply, ask, courtesy
from tasks.answer.cache import AnswerCache, cache_key
from tasks.answer.calibration import Calibration
from tasks.answer.conversation import Turn, Writer, rewritten
from tasks.answer.generators.base import Generator, JsonFormat
from tasks.answer.generators.grammar import check_enforceable
from tasks.answer.registry import alone
from tasks.answer.structured.answer import require_writer, with_room
from tasks.audit.audit import open_audit
from tasks.errors import ConfigurationError
from tasks.index.access_tables import load_access
from tasks.index.live import PastReleases
from tasks.index.passage import Passage
from tasks.index.search import Request as SearchRequest
from tasks.index.table import connect
from tasks.params import Params
from tasks.settings import Settings

SEARCH_THREADS = 4
"""The embedder and LanceDB use all cores by themselves: more threads only wait for each other."""


class Pairs(Protocol):
    """What serves; `serving.promotion.live.LivePair` follows the aliases."""

    def start(self) -> None:
        """Load what serves and begin to follow."""

    def stop(self) -> None:
        """Follow no longer."""

    def acquire(self, user_key: str | None = None, knowledge_base: str | None = None) -> AbstractContextManager[Pair]:
        """Return the pair of one request, held to its end; a share of users gets the challenger.

        Who asks one knowledge base alone gets its own answerer, where it has one.
        """

    def poll_now(self) -> None:
        """Look at the aliases at once; returns before that is done."""

    def status(self) -> PairStatus:
        """Return what serves and since when, and what is not as it should be."""


OpenPairs = Callable[[Params, Settings, Callable[[Generator], Generator]], Pairs]


@dataclass(frozen=True, slots=True)
class SearchReply:
    """Passages, best first, and the number of the release that they are from."""

    results: tuple[Passage, ...]
    release: int


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question with who asks it, where, and how it is to be answered.

    Attributes:
        client_system: the client's system message; it is honoured within the operator's prompt.
        max_tokens: of the answer, where the client wants fewer than the answerer would write.
        form: of an answer that is one JSON value.
    """

    turn: Turn
    knowledge_bases: tuple[str, ...]
    asker: Asker
    session: str | None
    client_system: str = ""
    max_tokens: int | None = None
    form: JsonFormat | None = None


class Service:
    """What the routes share: the pairs, the queue of drafts, slots and threads, identity, figures, ratings."""

    def __init__(self, params: Params, settings: Settings, open_pairs: OpenPairs) -> None:
        self.params, self.settings = params, settings
        self.metrics, self.audit = Metrics(), open_audit(settings.layout)
        self.identity = Identity(settings, anonymous_groups=params.serving.anonymous_groups)
        self.batcher = Batcher(max_batch=params.serving.max_batch, observe=self.metrics.batch)
        self.pairs = open_pairs(params, settings, self.batcher.wrap)
        self.feedback = FeedbackSpool(settings, self.metrics.feedback)
        serving = params.serving
        self.cache = AnswerCache(max_entries=serving.cache_entries, max_bytes=serving.cache_mb * 1_000_000)
        size = serving.max_queue + serving.max_batch
        self.answers = Slots(size, what="questions")
        self.searches = Slots(size, what="searches")
        self.answer_threads = ThreadPoolExecutor(size, thread_name_prefix="almanac-answer")
        self.search_threads = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="almanac-search")
        self._db = connect(settings)
        self.past = PastReleases(self._db, params, settings)
        self.metrics.gauge("queue_depth", "Questions that run or wait.", lambda: self.answers.taken)
        self.metrics.gauge("queue_size", "Questions that may run or wait.", lambda: self.answers.size)
        self.metrics.gauge("cache_entries", "Answers that are kept.", lambda: self.cache.num_entries)
        self.metrics.gauge("cache_bytes", "Bytes of the answers that are kept.", lambda: self.cache.size_bytes)
        self.metrics.gauge("feedback_spool", "Ratings that wait for MLflow.", lambda: self.feedback.num_waiting)

    def start(self) -> None:
        """Load what serves; ratings that wait are delivered meanwhile."""
        self.batcher.start()
        self.feedback.start()
        self.pairs.start()

    def stop(self) -> None:
        """Let nothing run on."""
        self.feedback.stop()
        self.pairs.stop()
        self.batcher.stop()
        self.answer_threads.shutdown(cancel_futures=True)
        self.search_threads.shutdown(cancel_futures=True)

    def answer(self, asked: ChatQuestion, ticket: Ticket, emit: Callable[[str], None] | None) -> Reply:
        """Answer in this thread, with one pair from beginning to end; gives the slot back.

        Args:
            asked: what is asked and by whom.
            ticket: cancelled once nobody waits for the answer.
            emit: is given the text as it is written; None: the whole answer is waited for.

        Raises:
            ApiError: 400 for a system message or a form that nothing here can honour.
            FormatError: the model wrote no value of the form.
        """
        token, started = TICKET.set(ticket), time.monotonic()
        first: list[float] = []

        def emit_timed(piece: str) -> None:
            if not first:
                first.append(time.monotonic() - started)
            assert emit is not None
            emit(piece)

        try:
            with self.pairs.acquire(asked.asker.user, alone(asked.knowledge_bases)) as pair:
                reply = self._reply(asked, pair, emit_timed if emit else None)
        finally:
            TICKET.reset(token)
            self.answers.give_back()
        self.metrics.answer(reply, first_seconds=first[0] if first else reply.seconds)
        if reply.trace_id is not None:
            self.feedback.remember(reply.trace_id, asked.asker.user)
        return reply

    def _reply(self, asked: ChatQuestion, pair: Pair, emit: Callable[[str], None] | None) -> Reply:
        """Answer from the cache, or anew by the access of now."""
        answerer = _limited(pair.answerer, asked)
        access = load_access(self._db)
        turn, user, session = asked.turn, asked.asker.user, asked.session
        request = SearchRequest(turn.question, asked.asker.groups, asked.knowledge_bases)
        form = json.dumps(asked.form.requested, sort_keys=True) if asked.form else ""
        context = (*turn.subject, *turn.earlier, asked.client_system, form)
        key = cache_key(request, context, answerer, access, index_version=pair.index_revision)
        cached = self.cache.get(key)
        given = courtesy() if turn.is_courtesy and asked.form is None else cached
        if given is None and answerer.kind != "excerpt":
            turn = rewritten(turn, _writer(answerer.generator))

        def observe(passages: Sequence[Passage], trace_id: str | None) -> None:
            names = [passage.document_id for passage in passages]
            self.audit.shown(user, names, release=pair.index_version, answerer=answerer.version, trace=trace_id)

        reply = ask(
            replace(request, question=turn.searched()),
            lambda wanted: pair.index.search(wanted, access),
            answerer,
            index_version=pair.index_version,
            settings=self.settings,
            embedder=pair.index.embedder,
            calibration=Calibration.of_release(pair.index.metrics),
            client_system=asked.client_system,
            turn=turn,
            user=user,
            session=None if session is None else self.identity.pseudonym("session", user, session),
            given=given,
            emit=emit,
            observe=observe,
            form=asked.form,
        )
        if given is None:
            # What a repeated answer costs is nothing: its prompt was read before.
            kept = replace(reply.answer, prompt="", num_prompt_tokens=0, num_completion_tokens=0)
            self.cache.put(key, kept, valid_until=pair.index.next_expiry())
        return replace(reply, cached=cached is not None)

    def own_models(self, asker: Asker) -> dict[str, AnswererStatus]:
        """Return the answerers that knowledge bases have of their own, where the asker may read anything in them."""
        own = self.pairs.status().own
        names = [name for name in own if not asker.knowledge_bases or name in asker.knowledge_bases]
        if not names:
            return {}
        with self.pairs.acquire() as pair:
            access = load_access(self._db)
            return {
                name: own[name]
                for name in names
                if pair.index.holds(SearchRequest(name, asker.groups, (name,)), access)
            }

    def rate(self, request: FeedbackRequest, user: str) -> None:
        """Keep a rating for delivery, and note who gave it.

        Raises:
            ApiError: 404 where another user asked, 429 where too many wait.
        """
        self.feedback.accept(request, user)
        self.audit.done("rated", actor=user, trace=request.trace_id, rating=request.rating)

    def search(self, request: SearchRequest, user: str) -> SearchReply:
        """Search in this thread for a user; the reply has the fields of `almanac search --json`."""
        with self.pairs.acquire() as pair:
            index = pair.index if request.as_of is None else self.past.open(request.as_of)
            passages = tuple(index.search(request, load_access(self._db)))
        self.audit.shown(user, [passage.document_id for passage in passages], release=index.release)
        return SearchReply(passages, int(index.release))


def _limited(answerer: Answerer, asked: ChatQuestion) -> Answerer:
    """The answerer within what the client wants.

    Raises:
        ApiError: 400: excerpts are shown as they are, in no other tone, language or form; a schema is not enforceable.
    """
    if asked.form is not None:
        answerer = _held_to(asked.form, answerer)
    if asked.client_system and answerer.kind == "excerpt":
        raise ApiError(
            400,
            "a system message must have a model to honour it, and the answers here are excerpts of the documents; send "
            "none, or ask who runs this server to set `generation.endpoint` or to promote an answerer",
            param="messages",
            code="system_message_unsupported",
        )
    limit = answerer.params.max_new_tokens
    if asked.max_tokens is None or asked.max_tokens >= limit:
        return answerer
    return replace(answerer, params=answerer.params.model_copy(update={"max_new_tokens": asked.max_tokens}))


def _held_to(form: JsonFormat, answerer: Answerer) -> Answerer:
    try:
        require_writer(answerer.generator, answerer.params)
        if answerer.kind == "local":
            check_enforceable(form)
    except ConfigurationError as error:
        raise refused_form(str(error)) from error
    return replace(answerer, params=with_room(answerer.params))


def _writer(generator: Generator) -> Writer:
    def write(messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> str:
        return generator.generate(messages, max_new_tokens=max_new_tokens).text

    return write
