"""Questions that name a document of the corpus: is it among the passages, and does another one answer in its place?

python -m benchmarks.named_documents                     # needs a home with a release
python -m benchmarks.named_documents "Does {} work on Windows?"
python -m benchmarks.named_documents "What is {}?" "What does {} do?"

Beside it, of the default corpus: the share of the words of a package's one-line summary that the first excerpt holds.
The summary is the package's own and says what it is. Since 2026-11-28 its document begins with it, so the share tells
whether a reader is shown the beginning, no longer whether other words say the same.
"""

import argparse
from collections import Counter
from importlib import metadata

import numpy as np

from tasks.answer.assistant import Assistant
from tasks.answer.words import terms, vocabulary
from tasks.index.table import connect, open_latest
from tasks.params import load_params
from tasks.settings import Settings, quiet_environment

TEMPLATES = ("How do I set a timeout in {}?", "How do I use {} with async code?", "What is {} for?")
OPENING = 1500
"""Characters from a document's start within which the answer to `What is it for?` mostly stands."""
MIN_SUMMARY_WORDS = 2
SAYS_IT = 0.6
"""Share of a summary's words, from which an excerpt is counted as one that says what the package is."""


def main() -> None:
    """Print for each template how many documents are absent, and what answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("templates", nargs="*", default=TEMPLATES, help="questions with {} for the title")
    templates = parser.parse_args().templates
    quiet_environment()
    settings = Settings()
    params = load_params(settings.params)
    rows = open_latest(connect(settings)).search().where("ordinal = 0").select(["title"]).to_arrow()
    titles = sorted(set(rows["title"].to_pylist()))
    assistant = Assistant(params, settings)
    for template in templates:
        outcomes: Counter[str] = Counter()
        absent: list[str] = []
        others: list[str] = []
        num_openings = 0
        shares: list[float] = []
        for title in titles:
            answer = assistant.ask(template.format(title)).answer
            outcomes[answer.outcome] += 1
            if all(passage.title != title for passage in answer.passages):
                absent.append(title)
            if answer.outcome != "answer":
                continue
            first = answer.citations[0]
            num_openings += first.title == title and first.start < OPENING
            words = summary_words(title)
            if len(words) >= MIN_SUMMARY_WORDS:
                shares.append(len(words & vocabulary(first.quote)) / len(words))
            if first.title != title:
                others.append(f"{title} by {first.title}")
        print(f"{template} {len(titles)} titles: {dict(outcomes)}")
        print(f"  answered by the document's first {OPENING} characters: {num_openings}")
        if shares:
            says_it = np.mean(np.asarray(shares) >= SAYS_IT)
            print(f"  words of the summary {np.mean(shares):.3f}, {SAYS_IT} of them {says_it:.3f}, of {len(shares)}")
        print(f"  absent from the passages {len(absent)}: {', '.join(absent)}")
        print(f"  answered by another document {len(others)}: {', '.join(others)}")


def summary_words(title: str) -> frozenset[str]:
    """Return the content words of the summary of an installed package without its name; none of what is no package."""
    try:
        package = metadata.metadata(title)
    except (metadata.PackageNotFoundError, ValueError):
        return frozenset()
    if "Summary" not in package:
        return frozenset()
    return terms(package["Summary"]).content - terms(title).content


if __name__ == "__main__":
    main()
