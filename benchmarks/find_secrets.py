"""The document gate's search for secrets beside detect-secrets: findings in published texts, recall, CPU seconds.

    pip install detect-secrets && python -m benchmarks.find_secrets

Texts are the READMEs of the installed packages and, where they are at hand, the text files of `mixed_formats`, in which
no living secret stands. What must be found is a made-up secret of each kind.
"""

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.data import bench_file
from tasks.corpus.gate.sensitive import find_secrets
from tests.corpus.test_signals import SECRETS

SUFFIXES = frozenset({".md", ".rst", ".txt", ".org", ".tex", ".html", ".ipynb"})
MAX_BYTES = 400_000
Find = Callable[[str], Sequence[object]]
GUESSES = frozenset({"KeywordDetector", "Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"})
"""Plugins of detect-secrets that know no shape."""


def main() -> None:
    """Print what each finds, and its CPU seconds."""
    texts = {**readmes(), **files()}
    print(f"{len(texts)} texts, {sum(map(len, texts.values()))} characters")
    compare(texts)


def readmes() -> dict[str, str]:
    payloads = {each.metadata["Name"]: each.metadata.get_payload() for each in importlib.metadata.distributions()}  # type: ignore[attr-defined]
    return {name: text for name, text in payloads.items() if isinstance(text, str) and len(text) > 200}


def files() -> dict[str, str]:
    folder = bench_file("mixed_formats")
    texts = {}
    for path in folder.rglob("*") if folder else ():
        if path.suffix in SUFFIXES and path.stat().st_size <= MAX_BYTES:
            try:
                texts[str(path.relative_to(folder))] = path.read_text("utf-8")  # type: ignore[arg-type]
            except UnicodeDecodeError:
                continue
    return texts


def compare(texts: Mapping[str, str]) -> None:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import transient_settings

    def scan(text: str) -> list[object]:
        return [secret for line in text.splitlines() for secret in scan_line(line)]

    names = {plugin.__name__ for plugin in get_mapping_from_secret_type_to_class().values()}
    report("ours", find_secrets, texts, list(SECRETS.values()))
    for label, plugins in (("shapes of detect-secrets", names - GUESSES), ("all of detect-secrets", names)):
        with transient_settings({"plugins_used": [{"name": name} for name in sorted(plugins)]}):
            report(label, scan, texts, list(SECRETS.values()))


def report(
    label: str, find: Callable[[str], Sequence[object]], texts: Mapping[str, str], wanted: Sequence[str]
) -> None:
    started = time.process_time()
    num_found = [len(find(text)) for text in texts.values()]
    seconds = time.process_time() - started
    recall = f"{sum(bool(find(text)) for text in wanted)} of {len(wanted)}"
    print(
        f"{label}: {sum(num_found)} findings in {sum(map(bool, num_found))} texts, {seconds:.2f} CPU s; found {recall}"
    )


if __name__ == "__main__":
    main()
