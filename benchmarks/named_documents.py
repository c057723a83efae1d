"""Questions that name a document of the corpus: is it among the passages, and does another one answer in its place?

python -m benchmarks.named_documents                     # needs a home with a release
python -m benchmarks.named_documents "Does {} work on Windows?"
"""

import argparse
from collections import Counter

from tasks.answer.assistant import Assistant
from tasks.index.table import connect, open_latest
from tasks.params import load_params
from tasks.settings import Settings, quiet_environment

TEMPLATES = ("How do I set a timeout in {}?", "How do I use {} with async code?", "What is {} for?")
OPENING = 1500
"""Characters from a document's start within which the answer to `What is it for?` mostly stands."""


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
        for title in titles:
            answer = assistant.ask(template.format(title)).answer
            outcomes[answer.outcome] += 1
            if all(passage.title != title for passage in answer.passages):
                absent.append(title)
            if answer.outcome != "answer":
                continue
            first = answer.citations[0]
            num_openings += first.title == title and first.start < OPENING
            if first.title != title:
                others.append(f"{title} by {first.title}")
        print(f"{template} {len(titles)} titles: {dict(outcomes)}")
        print(f"  answered by the document's first {OPENING} characters: {num_openings}")
        print(f"  absent from the passages {len(absent)}: {', '.join(absent)}")
        print(f"  answered by another document {len(others)}: {', '.join(others)}")


if __name__ == "__main__":
    main()
