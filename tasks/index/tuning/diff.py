"""A change of parameters as a unified diff of params.yaml that keeps its comments."""

import difflib
import re
from collections.abc import Mapping

Setting = str | int | float


def params_diff(text: str, changes: Mapping[str, Setting]) -> str:
    """Return the unified diff (for `patch -p1`) that sets these parameters, named `block.parameter`.

    For instance `{"search.top_k": 5}` changes the line `  top_k: 8  # shown` of the block `search` to
    `  top_k: 5  # shown`.
    """
    before = text.splitlines(keepends=True)
    after: list[str] = []
    block = ""
    for line in before:
        block = line.split(":")[0] if re.match(r"\w+:", line) else block
        setting = re.match(r"(  (\w+): *)([^\s#]+)(.*)", line, re.DOTALL)
        name = f"{block}.{setting[2]}" if setting else ""
        after.append(f"{setting[1]}{changes[name]}{setting[4]}" if setting and name in changes else line)
    return "".join(difflib.unified_diff(before, after, "a/params.yaml", "b/params.yaml"))
