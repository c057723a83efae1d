"""Synthetic questions of a small knowledge base beside a large one."""

from collections import Counter
from itertools import islice

from tasks.index.passage import Passage
from tasks.model.examples.splits import Splits
from tasks.model.examples.synthetic import SyntheticQuestion
from tasks.model.examples.synthetic_seeds import rule_seeds

LARGE, SMALL = 60, 3


def asked(knowledge_base: str, number: int) -> list[tuple[Passage, SyntheticQuestion]]:
    document = f"{knowledge_base}:{number}"
    passage = Passage(document, document, knowledge_base, "", "", "", "", 0, 0, 0.0, None, None)
    return [(passage, SyntheticQuestion(f"{document} {place}?", "slate", "what")) for place in range(4)]


def test_knowledge_bases_take_turns_until_one_has_no_more() -> None:
    entries = [entry for number in range(LARGE) for entry in asked("large", number)]
    entries += [entry for number in range(SMALL) for entry in asked("small", number)]
    splits = Splits({entry[0].document_id: entry[0].document_id for entry in entries}, frozenset(), frozenset(), 0.0)
    seeds = list(rule_seeds(entries, splits, seed=7))
    assert len({seed.question for seed in seeds}) == len(entries)
    first = list(islice(seeds, 20))
    assert Counter(seed.topic for seed in first) == {"large": 10, "small": 10}
    # Within a knowledge base documents take turns as before.
    assert len({seed.cluster for seed in first if seed.topic == "large"}) == 10
    assert len({seed.cluster for seed in first[:6] if seed.topic == "small"}) == SMALL
    alone = [entry for entry in entries if entry[0].knowledge_base == "large"]
    assert [seed for seed in seeds if seed.topic == "large"] == list(rule_seeds(alone, splits, seed=7))
