"""Which paths a source takes: include and exclude globs over paths with `/`."""

import re
from collections.abc import Callable, Sequence

from fsspec.utils import glob_translate


def path_filter(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Return a test of relative paths: some include glob matches and no exclude glob does.

    `*` stays within a folder, `**` crosses folders. As in a shell, names that begin with a dot are left out unless an
    include glob names a dot itself: a checkout's `.git` is no document.
    """
    wanted = _any_of(include)
    unwanted = _any_of(exclude)
    hidden_named = any(part.startswith(".") for glob in include for part in glob.split("/"))

    def takes(path: str) -> bool:
        if not hidden_named and (path.startswith(".") or "/." in path):
            return False
        return wanted(path) and not unwanted(path)

    return takes


def _any_of(globs: Sequence[str]) -> Callable[[str], bool]:
    if "**/*" in globs or "**" in globs:
        return lambda _path: True
    patterns = [re.compile(glob_translate(glob)) for glob in globs]
    return lambda path: any(pattern.match(path) for pattern in patterns)
