"""How a flow calls its steps: as Prefect tasks inside a flow run, as plain functions otherwise.

A refresh needs no server: without a Prefect API the same flow function runs plainly, with the same retries. What
crosses a step is a path, a count or params.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Generic, ParamSpec, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from tasks.errors import DependencyError
from tasks.params import Params

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
        if FlowRunContext.get() is None:
            return self._plainly(*args, **kwargs)
        return cast(R, self._task()(*args, **kwargs))

    def map(self, items: Sequence[Any], *rest: Any, num_workers: int) -> Iterator[R]:
        """Run the step on every item, yielding results as they come; `rest` is passed to each call."""
        if FlowRunContext.get() is not None:
            from prefect.futures import as_completed as prefect_completed

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
    return isinstance(state.result(raise_on_failure=False), DependencyError)


def _say_retry(state: Any) -> None:
    logger.warning("trying again: %s", state.outcome.exception())


def runner(flow: Any, params: Params) -> Callable[..., Any]:
    """How to call a flow here: through Prefect where a server is set or Dask runs the shards, else as a function.

    A Prefect server that does not answer stops nothing: the flow runs plainly and says so.
    """
    if params.execution.runner == "dask":
        return cast(Callable[..., Any], flow.with_options(task_runner=_dask(params)))
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        return cast(Callable[..., Any], flow.fn)
    if not _answers(address):
        logger.warning("the Prefect server at %s does not answer: running without it, nothing is reported", address)
        return cast(Callable[..., Any], flow.fn)
    return cast(Callable[..., Any], flow)


def _answers(address: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{address.rstrip('/')}/health", timeout=3).is_success
    except httpx.HTTPError:
        return False


def _dask(params: Params) -> Any:
    from prefect_dask.task_runners import DaskTaskRunner

    address = os.environ.get("ALMANAC_DASK_ADDRESS")
    if address:
        return DaskTaskRunner(address=address)
    workers = {"n_workers": params.execution.num_workers, "threads_per_worker": 1, "processes": True}
    return DaskTaskRunner(cluster_kwargs=workers)
