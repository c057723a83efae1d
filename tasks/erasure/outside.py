"""The stores outside of the home, which machines share: folders and buckets, searched byte for byte and scrubbed.

An object is fetched to be searched: what is packed in it must be unpacked. The index and the snapshots are written anew
by others (`index_rows`, `snapshots`); here goes what MLflow keeps there.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tasks.erasure.byte_search import WEIGHTS, Needles, files_with, holds, search_home
from tasks.errors import DependencyError
from tasks.home import make_private
from tasks.releases.model_registry import mlflow_client
from tasks.settings import Settings
from tasks.tenant import is_own

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ARTIFACTS = "mlartifacts"
_BUCKETS = ("s3", "s3a")
_TRANSFERS = 8
_EXPERIMENTS_PER_PAGE = 1000


def search_stores(settings: Settings, needles: Needles, *, passed_over: tuple[Path, ...]) -> dict[str, int]:
    """Return how many files of each store hold a needle, in the home and outside of it.

    Raises:
        DependencyError: a store does not answer.
    """
    hits = search_home(settings.layout.root, needles, passed_over=passed_over)
    for name, addresses in places_outside(settings).items():
        number = sum(len(_files_at(settings, address, needles)) for address in addresses)
        if number:
            hits[name] = hits.get(name, 0) + number
    return hits


def scrub_artifacts(settings: Settings, needles: Needles) -> int:
    """Remove MLflow's files outside of the home that hold a needle; return how many.

    Raises:
        DependencyError: the store does not answer.
    """
    removed = 0
    for address in places_outside(settings).get(ARTIFACTS, ()):
        for name in _files_at(settings, address, needles):
            with _answers(address):
                _remove(address, name)
            removed += 1
    return removed


def places_outside(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return, by name, the folders and buckets outside of the home that this machine can search.

    Raises:
        DependencyError: MLflow does not answer.
    """
    root = settings.layout.root
    named = {"lancedb": settings.index_uri, "dvc-remote": settings.remote, "state": settings.shared_state}
    places = {name: (address,) for name, address in named.items() if address and _can_be_searched(address, root)}
    artifacts = tuple(address for address in _artifact_places(settings) if _can_be_searched(address, root))
    return places | ({ARTIFACTS: artifacts} if artifacts else {})


def bucket_keeps_versions(address: str) -> bool | None:
    """Say whether a bucket keeps what is deleted as an old version; None: it does not say, or is no bucket of S3."""
    if urlsplit(address).scheme not in _BUCKETS:
        return None
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = boto3.session.Session().client("s3").get_bucket_versioning(Bucket=urlsplit(address).netloc)
    except (BotoCoreError, ClientError):
        return None
    return "Status" in answer


def vacuum_postgresql(address: str) -> None:
    """Write every table of a database anew, so that no deleted row is left in it.

    Raises:
        DependencyError: the server does not answer, or the tables are another user's.
    """
    import psycopg2

    try:
        with closing(psycopg2.connect(address)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("VACUUM FULL")
    except psycopg2.Error as error:
        reason = " ".join(str(error).split())[:200]
        raise DependencyError(f"MLflow's database must be vacuumed, found: {reason}; run VACUUM FULL there") from error


def _artifact_places(settings: Settings) -> list[str]:
    """Return where the tenant's experiments keep files; an experiment below another's place is not named again."""
    from mlflow.entities import ViewType

    with mlflow_client(settings) as client:
        experiments = client.search_experiments(view_type=ViewType.ALL, max_results=_EXPERIMENTS_PER_PAGE)
    own = [experiment for experiment in experiments if is_own(experiment.name)]
    places = sorted({str(experiment.artifact_location).rstrip("/") for experiment in own})
    return [place for place in places if not any(place.startswith(f"{other}/") for other in places)]


def _can_be_searched(address: str, root: Path) -> bool:
    if urlsplit(address).scheme in _BUCKETS:
        return True
    folder = _folder(address)
    return folder is not None and folder.is_dir() and not folder.resolve().is_relative_to(root)


def _folder(address: str) -> Path | None:
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if "://" in address or parts.scheme == "mlflow-artifacts" else Path(address)


def _files_at(settings: Settings, address: str, needles: Needles) -> list[str]:
    """Return the names of files or objects below an address that hold a needle."""
    folder = _folder(address)
    if folder is not None:
        return [str(path) for path in files_with(folder, needles)]
    if not needles.texts:
        return []
    scratch = make_private(settings.work) / "erasure" / "objects"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with _answers(address):
            return list(_objects_with(address, needles, scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _objects_with(address: str, needles: Needles, scratch: Path) -> Iterator[str]:
    system, root = _system(address)
    names = [name for name in system.find(root) if PurePosixPath(name).suffix not in WEIGHTS]

    def is_hit(entry: tuple[int, str]) -> bool:
        number, name = entry
        copy = scratch / f"{number}{PurePosixPath(name).suffix}"
        system.get_file(name, str(copy))
        try:
            return holds(copy, needles)
        finally:
            copy.unlink()

    with ThreadPoolExecutor(_TRANSFERS) as pool:
        yield from (name for name, hit in zip(names, pool.map(is_hit, enumerate(names)), strict=True) if hit)


def _remove(address: str, name: str) -> None:
    if _folder(address) is not None:
        Path(name).unlink(missing_ok=True)
    else:
        _system(address)[0].rm_file(name)


def _system(address: str) -> "tuple[AbstractFileSystem, str]":
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    system, root = url_to_fs(address, **options)
    return system, str(root)


@contextmanager
def _answers(address: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise DependencyError(
            f"{address} must be readable to be searched, found: {' '.join(str(error).split())[:200]}; check the "
            "address and the rights (almanac doctor --stores), and run `almanac forget` again"
        ) from error
