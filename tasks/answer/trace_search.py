"""The traces of answers, read back from MLflow: page by page, the newest first."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from tasks.answer.trace import EXPERIMENT
from tasks.releases.model_registry import mlflow_client
from tasks.settings import Settings
from tasks.tenant import of_tenant

if TYPE_CHECKING:
    from mlflow.entities import Trace

TRACES_PER_PAGE = 200


def answer_traces(
    settings: Settings, condition: str | None = None, *, limit: int | None = None, include_spans: bool = True
) -> Iterator["Trace"]:
    """Yield the traces that fit a filter of MLflow's; none where nobody asked yet.

    Args:
        settings: where MLflow is.
        condition: as `feedback.user_rating = 'true'`; None: every trace.
        limit: how many at most; None: all.
        include_spans: read what the steps of an answer took and gave, too.

    Raises:
        DependencyError: MLflow does not answer.
    """
    return islice(_pages(settings, condition, min(limit or TRACES_PER_PAGE, TRACES_PER_PAGE), include_spans), limit)


def _pages(settings: Settings, condition: str | None, page_size: int, include_spans: bool) -> Iterator["Trace"]:
    with mlflow_client(settings) as client:
        experiment = client.get_experiment_by_name(of_tenant(EXPERIMENT))
        token = None
        while experiment is not None:
            page = client.search_traces(
                locations=[experiment.experiment_id],
                filter_string=condition,
                order_by=["timestamp_ms DESC"],
                max_results=page_size,
                page_token=token,
                include_spans=include_spans,
            )
            yield from page
            token = page.token
            if not token:
                return
