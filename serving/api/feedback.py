"""Ratings: kept on disk at once, brought to their trace in MLflow when it is there.

A trace is exported some seconds behind its answer, and MLflow may be down: so a rating is a file first
(`home/feedback/`), and a thread delivers it as soon as it can. The file is named by trace and user, and an assessment
is looked up by user before it is written: one vote a user and answer, the last one stands.
"""

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.api.errors import ApiError, too_many
from tasks.errors import DependencyError
from tasks.files import write_json
from tasks.releases.model_registry import mlflow_client
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities import Assessment, TraceInfo

RATING = "user_rating"
CORRECTION = "expected_response"
MAX_WAITING = 10_000
MAX_WAITING_OF_A_USER = 100
MAX_REMEMBERED = 10_000
MAX_AGE_SECONDS = 3600.0
"""A trace that MLflow does not have an hour behind its rating was never exported: the rating is given up."""
POLL_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0

logger = logging.getLogger(__name__)


class FeedbackRequest(BaseModel):
    """A rating of one answer."""

    model_config = ConfigDict(extra="forbid")

    trace_id: str = Field(pattern=r"^tr-[0-9a-f]{32}$")
    rating: Literal["up", "down"]
    comment: str | None = Field(None, max_length=2000)
    corrected_answer: str | None = Field(None, max_length=4000)


class FeedbackSpool:
    """Ratings on their way to MLflow."""

    def __init__(self, settings: Settings, observe: Callable[[str], None]) -> None:
        """Keep ratings in the home; `observe` is told what becomes of each."""
        self._settings, self._observe = settings, observe
        self._folder = settings.layout.feedback
        self._askers: OrderedDict[str, str] = OrderedDict()
        self._not_before: dict[str, float] = {}
        self._lock = threading.Lock()
        self._changed, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="almanac-feedback", daemon=True)

    @property
    def num_waiting(self) -> int:
        """Ratings that are not delivered yet."""
        return self._count("")

    def remember(self, trace_id: str, user: str) -> None:
        """Note who asked, so that a stranger's rating is refused before its trace is exported."""
        with self._lock:
            self._askers[trace_id] = user
            while len(self._askers) > MAX_REMEMBERED:
                self._askers.popitem(last=False)

    def accept(self, request: FeedbackRequest, user: str) -> None:
        """Keep a rating for delivery.

        Raises:
            ApiError: 404 where another user asked, 429 where too many wait.
        """
        with self._lock:
            asker = self._askers.get(request.trace_id)
        if asker not in (None, user):
            raise ApiError(404, "`trace_id` must be that of an answer of yours", param="trace_id", code="not_found")
        if self.num_waiting >= MAX_WAITING or self._count(_digest(user)) >= MAX_WAITING_OF_A_USER:
            raise too_many(
                f"at most {MAX_WAITING_OF_A_USER} ratings of a user and {MAX_WAITING} in all may wait for MLflow, and "
                "so many do; try again later"
            )
        vote = request.model_dump() | {"user": user, "accepted_at": time.time()}
        write_json(self._folder / f"{_digest(user)}-{_digest(request.trace_id)}.json", vote)
        self._observe("accepted")
        self._changed.set()

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver no longer; what waits is delivered by the next start."""
        self._stopped.set()
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _count(self, prefix: str) -> int:
        return sum(1 for _ in self._folder.glob(f"{prefix}[0-9a-f-]*.json"))

    def _work(self) -> None:
        pause = POLL_SECONDS
        while not self._stopped.is_set():
            waiting = self.num_waiting
            if not waiting:
                self._changed.wait()
                self._changed.clear()
                continue
            pause = POLL_SECONDS if self.deliver() else min(2 * pause, MAX_PAUSE_SECONDS)
            self._stopped.wait(pause)

    def deliver(self) -> bool:
        """Bring every rating that is due to its trace where that is there; whether MLflow answered."""
        for path in sorted(self._folder.glob("[0-9a-f]*.json"), key=lambda path: path.stat().st_mtime):
            if self._stopped.is_set():
                break
            if time.monotonic() < self._not_before.get(path.name, 0.0):
                continue
            try:
                self._deliver_one(path)
            except DependencyError as error:
                logger.warning("ratings wait: %s", error)
                self._put_off(path, time.time() - path.stat().st_mtime)  # it may be this trace alone: others go first
                return False
        return True

    def _deliver_one(self, path: Path) -> None:
        content = path.read_bytes()
        vote = json.loads(content)
        event = _deliver(self._settings, vote)
        if event is None:
            self._put_off(path, time.time() - vote["accepted_at"])
            return
        self._observe(event)
        self._not_before.pop(path.name, None)
        # A vote that came while this one was delivered stands in the same file and has its own turn.
        if path.read_bytes() == content:
            path.unlink()

    def _put_off(self, path: Path, age: float) -> None:
        """Tried ever more rarely: most traces come within seconds, a made-up one never."""
        self._not_before[path.name] = time.monotonic() + min(max(age / 2, POLL_SECONDS), MAX_PAUSE_SECONDS)


def _deliver(settings: Settings, vote: dict[str, Any]) -> str | None:
    """Write a vote on its trace; what became of it, None while its trace is not there.

    Raises:
        DependencyError: MLflow does not answer.
    """
    trace = _trace_info(settings, vote["trace_id"])
    asker = None if trace is None else trace.trace_metadata.get("mlflow.trace.user")
    # MLflow writes a trace first and who asked behind it: a busy database shows the one without the other.
    if trace is None or asker is None:
        return "expired" if time.time() - vote["accepted_at"] > MAX_AGE_SECONDS else None
    if asker != vote["user"]:
        logger.warning("a rating was dropped: another user asked for the answer of trace %s", vote["trace_id"])
        return "refused"
    before = {
        entry.name: entry
        for entry in trace.assessments
        if entry.source is not None and entry.source.source_id == vote["user"]
    }
    _write(settings, vote, before)
    return "replaced" if RATING in before else "delivered"


def _trace_info(settings: Settings, trace_id: str) -> "TraceInfo | None":
    """Without its spans, which may come later or never."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracing.client import TracingClient

    with mlflow_client(settings):
        try:
            return TracingClient(settings.tracking_uri).get_trace_info(trace_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                return None
            raise


def _write(settings: Settings, vote: dict[str, Any], before: dict[str, "Assessment"]) -> None:
    import mlflow
    from mlflow.entities import AssessmentSource, Expectation, Feedback

    source = AssessmentSource(source_type="HUMAN", source_id=vote["user"])
    rating = Feedback(name=RATING, value=vote["rating"] == "up", source=source, rationale=vote["comment"])
    correction = vote["corrected_answer"]
    wanted = [rating, Expectation(name=CORRECTION, value=correction, source=source)] if correction else [rating]
    with mlflow_client(settings):
        mlflow.set_tracking_uri(settings.tracking_uri)
        for assessment in wanted:
            earlier = before.get(assessment.name)
            if earlier is None:
                mlflow.log_assessment(vote["trace_id"], assessment)
            else:
                mlflow.update_assessment(vote["trace_id"], str(earlier.assessment_id), assessment)
        if not correction and CORRECTION in before:
            mlflow.delete_assessment(vote["trace_id"], str(before[CORRECTION].assessment_id))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
