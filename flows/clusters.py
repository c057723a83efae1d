"""Workers beyond this process: Prefect's task runners for Dask and Ray, on a cluster that runs or the run's own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.errors import ConfigurationError
from tasks.params import ExecutionParams
from tasks.settings import Settings


@contextmanager
def cluster_runner(execution: ExecutionParams) -> Iterator[Any]:
    """Run the workers that `execution.runner` names, `dask` or `ray`; yield the task runner that submits to them.

    Raises:
        ConfigurationError: its packages are not installed.
    """
    try:
        with _dask(execution) if execution.runner == "dask" else _ray(execution) as started:
            yield started
    except ImportError as error:
        raise ConfigurationError(
            f"`execution.runner: {execution.runner}` must have its packages, found: {error}; "
            f"pip install -c constraints.txt '.[{execution.runner}]' in its folder"
        ) from error


@contextmanager
def _dask(execution: ExecutionParams) -> Iterator[Any]:
    from prefect_dask.task_runners import DaskTaskRunner

    settings = Settings()
    if settings.dask_address:
        task_runner = DaskTaskRunner(address=settings.dask_address)
    else:
        settings.home.mkdir(parents=True, exist_ok=True)  # Prefect's server of the run keeps its files there
        workers = {
            "n_workers": execution.num_workers,
            "threads_per_worker": 1,
            "processes": True,
            "dashboard_address": "127.0.0.1:0",  # None opens port 8787 on every address
            "env": _share(settings, execution),
        }
        task_runner = DaskTaskRunner(cluster_kwargs=workers)
    with task_runner as started:
        yield started


@contextmanager
def _ray(execution: ExecutionParams) -> Iterator[Any]:
    from prefect_ray.task_runners import RayTaskRunner

    settings = Settings()
    if settings.ray_address:
        with RayTaskRunner(address=settings.ray_address) as started:
            yield started
        return
    settings.home.mkdir(parents=True, exist_ok=True)
    # Not in the home: the names of Ray's sockets must be short.
    with tempfile.TemporaryDirectory(prefix="almanac-ray-", ignore_cleanup_errors=True) as folder:
        own = {
            "num_cpus": execution.num_workers,
            "include_dashboard": False,
            "log_to_driver": False,
            "runtime_env": {"env_vars": _share(settings, execution)},
            "_temp_dir": folder,
        }
        with RayTaskRunner(init_kwargs=own) as started:
            yield started


def _share(settings: Settings, execution: ExecutionParams) -> dict[str, str]:
    """Return the environment that gives each worker its share of the threads."""
    share = str(max(1, settings.num_threads // execution.num_workers))
    return {"ALMANAC_NUM_THREADS": share, "OMP_NUM_THREADS": share}
