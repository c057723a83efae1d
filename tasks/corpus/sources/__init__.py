"""Where documents come from: files, record feeds, databases, web sites, git repositories, installed packages."""

from pathlib import Path

from tasks.corpus.sources.reader import BatchReader, RawItem, SourceReader
from tasks.params_sources import FilesSource, GitSource, RecordsSource, Source, SqlSource, WebSource

__all__ = ["BatchReader", "RawItem", "SourceReader", "open_source"]


def open_source(source: Source, *, cache: Path) -> SourceReader:
    """The reader of a source.

    Args:
        source: one entry of `sources` in `params.yaml`.
        cache: a folder of this source alone, for what makes the next scan cheap; it may be deleted at any time.
    """
    if isinstance(source, FilesSource):
        from tasks.corpus.sources.files import open_files

        return open_files(source)
    if isinstance(source, RecordsSource):
        from tasks.corpus.sources.records import RecordsReader

        return RecordsReader(source, cache=cache)
    if isinstance(source, GitSource):
        from tasks.corpus.sources.git import GitReader

        return GitReader(source, cache=cache)
    if isinstance(source, SqlSource):
        from tasks.corpus.sources.sql import SqlReader

        return SqlReader(source, cache=cache)
    if isinstance(source, WebSource):
        from tasks.corpus.sources.web import WebReader

        return WebReader(source, cache=cache)
    from tasks.corpus.sources.python_packages import PythonPackagesReader

    return PythonPackagesReader(source)
