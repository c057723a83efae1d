"""What the routes share, and the way of a request through a thread to its answer.

What answers is one `Pair`, taken at the start of a request and kept to its end.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from serving.api.auth import Asker, Identity
from serving.api.batching import TICKET, Batcher, Ticket
from serving.api.feedback import FeedbackSpool
from serving.api.limits import Slots
from serving.api.metrics import Metrics
from serving.promotion.pair import Pair
from tasks.answer.assistant import Reply, ask
from tasks.answer.conversation import Turn
from tasks.answer.generators.base import Generator
from tasks.index.access_tables import load_access
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

    def acquire(self, user_key: str | None = None) -> AbstractContextManager[Pair]:
        """The pair of one request, held to its end; a share of users gets the challenger."""

    def poll_now(self) -> None:
        """Look at the aliases at once; returns before that is done."""

    def status(self) -> dict[str, Any]:
        """What serves and since when; `ready` says whether it can answer, `reasons` are for the log."""


OpenPairs = Callable[[Params, Settings, Callable[[Generator], Generator]], Pairs]


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question with who asks it, and where."""

    turn: Turn
    knowledge_bases: tuple[str, ...]
    asker: Asker
    session: str | None


class Service:
    """What the routes share: the pairs, the queue of drafts, slots and threads, identity, figures, ratings."""

    def __init__(self, params: Params, settings: Settings, open_pairs: OpenPairs) -> None:
        self.params, self.settings = params, settings
        self.metrics = Metrics()
        self.identity = Identity(settings, anonymous_groups=params.serving.anonymous_groups)
        self.batcher = Batcher(max_batch=params.serving.max_batch, observe=self.metrics.batch)
        self.pairs = open_pairs(params, settings, self.batcher.wrap)
        self.feedback = FeedbackSpool(settings, self.metrics.feedback)
        size = params.serving.max_queue + params.serving.max_batch
        self.answers = Slots(size, what="questions")
        self.searches = Slots(size, what="searches")
        self.answer_threads = ThreadPoolExecutor(size, thread_name_prefix="almanac-answer")
        self.search_threads = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="almanac-search")
        self._db = connect(settings)
        self.metrics.gauge("queue_depth", "Questions that run or wait.", lambda: self.answers.taken)
        self.metrics.gauge("queue_size", "Questions that may run or wait.", lambda: self.answers.size)
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

    def find(self, pair: Pair, request: SearchRequest) -> Sequence[Passage]:
        """What the asker may read, by the access of now."""
        return pair.index.search(request, load_access(self._db))

    def answer(self, asked: ChatQuestion, ticket: Ticket) -> Reply:
        """Answer in this thread, with one pair from beginning to end; gives the slot back."""
        user, session = asked.asker.user, asked.session
        request = SearchRequest(asked.turn.searched(), asked.asker.groups, asked.knowledge_bases)
        token = TICKET.set(ticket)
        try:
            with self.pairs.acquire(user) as pair:
                reply = ask(
                    request,
                    lambda wanted: self.find(pair, wanted),
                    pair.answerer,
                    index_version=pair.index_version,
                    settings=self.settings,
                    turn=asked.turn,
                    user=user,
                    session=None if session is None else self.identity.pseudonym("session", user, session),
                )
        finally:
            TICKET.reset(token)
            self.answers.give_back()
        self.metrics.answer(reply)
        if reply.trace_id is not None:
            self.feedback.remember(reply.trace_id, user)
        return reply

    def search(self, request: SearchRequest) -> dict[str, Any]:
        """Search in this thread: the fields of `almanac search --json`."""
        with self.pairs.acquire() as pair:
            found = self.find(pair, request)
            return {"results": [asdict(passage) for passage in found], "release": pair.release.number}
