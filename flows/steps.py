"""How a flow calls its steps: as Prefect tasks inside a flow run, as plain functions otherwise.

A refresh needs no server: without a Prefect API the same flow function runs plainly, with the same retries. What
crosses a step is a path, a count or params.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar, cast

import httpx
from prefect import Flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.utilities.annotations import quote
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from flows.clusters import cluster_runner
from tasks.errors import AlmanacError, DependencyError
from tasks.params import ExecutionParams, Params
from tasks.settings import Settings
from tasks.telemetry import span

P = ParamSpec("P")
R = TypeVar("R")
logger = logging.getLogger(__name__)


class Step(Generic[P, R]):
    """A task function with its retry policy: retried only where it can heal (a dependency that does not answer)."""

    def __init__(self, function: Callable[P, R], *, retries: int = 0, name: str | None = None) -> None:
        """Wrap `function`; `retries` counts only `DependencyError`."""
        self.name = name or function.__name__
        self._function = function
        self._retries = retries

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step now."""
        with span(self.name):
            if FlowRunContext.get() is None:
                return self._plainly(*args, **kwargs)
            # Prefect walks through all that crosses a step, looking for futures, unless it is quoted.
            opaque = {name: quote(value) for name, value in kwargs.items()}
            return cast(R, self._task()(*map(quote, args), **opaque))

    def map(self, items: Sequence[Any], *rest: Any, num_workers: int) -> Iterator[R]:
        """Run the step on every item, yielding results as they come; `rest` is passed to each call.

        Args:
            items: one call each.
            rest: of the arguments.
            num_workers: how many calls run at a time in this process; a cluster has workers of its own.
        """
        if FlowRunContext.get() is not None:
            from prefect.futures import as_completed as prefect_completed

            with _workers_for(num_workers):
                # Not quoted as above: Dask makes a plain tuple of a quoted value.
                futures = [self._task().submit(item, *rest) for item in items]
                yield from (cast(R, future.result()) for future in prefect_completed(futures))
            return
        with ThreadPoolExecutor(num_workers) as pool:
            call = cast(Callable[..., R], self._plainly)
            plain = [pool.submit(call, item, *rest) for item in items]
            try:
                yield from (future.result() for future in as_completed(plain))
            finally:
                pool.shutdown(cancel_futures=True)

    def _task(self) -> Any:
        policy = task(
            name=self.name,
            retries=self._retries,
            retry_delay_seconds=[2.0, 10.0][: self._retries] or None,
            retry_condition_fn=_can_heal,
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        return policy(self._function)

    def _plainly(self, *args: P.args, **kwargs: P.kwargs) -> R:
        policy = Retrying(
            stop=stop_after_attempt(self._retries + 1),
            retry=retry_if_exception_type(DependencyError),
            wait=wait_exponential(multiplier=1, max=10),
            before_sleep=_say_retry,
            reraise=True,
        )
        return policy(self._function, *args, **kwargs)


def step(*, retries: int = 0) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Make a task function a step of a flow."""
    return lambda function: Step(function, retries=retries)


def _can_heal(task: Any, run: Any, state: Any) -> bool:  # noqa: ARG001
    error = state.result(raise_on_failure=False)
    if not isinstance(error, DependencyError):
        return False
    logger.warning("trying again: %s", error)
    return True


def _say_retry(state: Any) -> None:
    logger.warning("trying again: %s", state.outcome.exception())


class Cluster:
    """The workers of one flow run, started when the first shard needs them; None of its own with `threads`."""

    def __init__(self, execution: ExecutionParams, stack: ExitStack) -> None:
        """Start nothing yet; `stack` stops what is started."""
        self._execution, self._stack = execution, stack
        self._task_runner: Any = None

    def task_runner(self) -> Any:
        """Return the running task runner of the cluster; None: the shards run in this process."""
        if self._execution.runner != "threads" and self._task_runner is None:
            self._task_runner = self._stack.enter_context(cluster_runner(self._execution))
        return self._task_runner


_CLUSTER: ContextVar[Cluster | None] = ContextVar("cluster", default=None)


@contextmanager
def cluster(execution: ExecutionParams) -> Iterator[None]:
    """Spread the shards of the steps inside as `execution` says, whether a person or the calendar started the flow."""
    with ExitStack() as stack:
        token = _CLUSTER.set(Cluster(execution, stack))
        try:
            yield
        finally:
            _CLUSTER.reset(token)


@contextmanager
def _workers_for(num_workers: int) -> Iterator[None]:
    """Let what is submitted inside run on the cluster, or on so many threads: Prefect's own default has no bound."""
    from prefect.task_runners import ThreadPoolTaskRunner

    context, started = FlowRunContext.get(), _CLUSTER.get()
    assert context is not None
    with ExitStack() as stack:
        task_runner = started.task_runner() if started else None
        if task_runner is None:
            task_runner = stack.enter_context(ThreadPoolTaskRunner(max_workers=num_workers))
        stack.enter_context(context.model_copy(update={"task_runner": task_runner}))
        yield


def runner(flow: Flow[P, R], params: Params) -> Callable[P, R]:
    """Return how to call a flow here: through Prefect where a server or a cluster is set, else as a function.

    A Prefect server that does not answer, or no longer, stops nothing: the flow runs plainly and says so.
    """
    address = Settings().prefect_api_url
    if address and not _answers(address):
        logger.warning("the Prefect server at %s does not answer: running without it, nothing is reported", address)
        return flow.fn
    through_prefect = address or params.execution.runner != "threads"
    return functools.partial(_through_prefect, flow) if through_prefect else flow.fn


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address.rstrip('/')}/health", timeout=3).is_success
    except httpx.HTTPError:
        return False


def _through_prefect(flow: Any, **options: Any) -> Any:
    """Call a flow through Prefect; where the server is lost on the way, what the flow returned or raised holds."""
    _give_up_events_early()
    outcome: list[Any] = []
    kept = flow.with_options()
    kept.fn = _keeping(flow.fn, outcome)
    try:
        return kept(**options)
    except httpx.HTTPError as error:
        logger.warning("the Prefect server stopped answering (%s): this run is not reported in full", error)
    if not outcome:
        return flow.fn(**options)
    if isinstance(outcome[0], AlmanacError):
        raise outcome[0]
    return outcome[0]


def _keeping(function: Callable[..., Any], outcome: list[Any]) -> Callable[..., Any]:
    """A list, since the flow with its function is pickled to Dask's workers."""

    @functools.wraps(function)
    def kept(*args: Any, **kwargs: Any) -> Any:
        try:
            outcome.append(function(*args, **kwargs))
        except AlmanacError as error:
            outcome.append(error)
            raise
        return outcome[0]

    return kept


def _give_up_events_early() -> None:
    """Without a server Prefect would wait seven seconds for each event, and minutes at exit."""
    from prefect.events.clients import PrefectEventsClient
    from prefect.events.worker import EventsWorker

    if Settings().prefect_api_url:
        EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=2)
