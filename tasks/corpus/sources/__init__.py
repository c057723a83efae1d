"""Where documents come from: files, record feeds, databases, web sites, git repositories, pushes, packages."""

from pathlib import Path

from tasks.corpus.sources.reader import BatchReader, RawItem, SourceReader
from tasks.params.sources import FilesSource, GitSource, PushSource, RecordsSource, Source, SqlSource, WebSource
from tasks.settings import Settings

__all__ = ["BatchReader", "RawItem", "SourceReader", "open_source"]


def open_source(source: Source, *, cache: Path) -> SourceReader:
    """Return the reader of a source.

    Args:
        source: one entry of `sources` in `params.yaml`.
        cache: a folder of this source alone, for what makes the next scan cheap; it may be deleted at any time.
    """
    reader: SourceReader
    if isinstance(source, FilesSource):
        from tasks.corpus.sources.files import open_files

        reader = open_files(source)
    elif isinstance(source, RecordsSource):
        from tasks.corpus.sources.records import RecordsReader

        reader = RecordsReader(source, cache=cache)
    elif isinstance(source, GitSource):
        from tasks.corpus.sources.git import GitReader

        reader = GitReader(source, cache=cache)
    elif isinstance(source, SqlSource):
        from tasks.corpus.sources.sql import SqlReader

        reader = SqlReader(source, cache=cache)
    elif isinstance(source, WebSource):
        from tasks.corpus.sources.web import WebReader

        reader = WebReader(source, cache=cache)
    elif isinstance(source, PushSource):
        from tasks.corpus.sources.push import PushReader

        reader = PushReader(source, Settings().layout)
    else:
        from tasks.corpus.sources.python_packages import PythonPackagesReader

        reader = PythonPackagesReader(source)
    return reader
