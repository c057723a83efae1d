"""Splits by document and near-duplicate cluster, and the check against the questions of evaluation."""

import random
from collections.abc import Mapping

from tasks.index.golden import GoldenQuestion
from tasks.model.examples.contamination import HeldOutQuestions
from tasks.model.examples.splits import Splits, cluster_documents, make_splits

WORDS = [f"word{number}" for number in range(2000)]


def corpus(count: int) -> dict[str, str]:
    """Documents of random words: none resembles another."""
    return {f"notes:{number}": " ".join(random.Random(number).choices(WORDS, k=120)) for number in range(count)}


def clusters(documents: Mapping[str, str]) -> dict[str, str]:
    return cluster_documents([(list(documents), list(documents.values()))])


def splits(documents: Mapping[str, str], **held_out: list[str]) -> Splits:
    held = {"tested": [], "validated": []} | held_out
    return make_splits(clusters(documents), validation_fraction=0.2, **held)


def golden(id_: str, question: str) -> GoldenQuestion:
    return GoldenQuestion(id_, question, "an answer", "notes:1", "words", "topic", "test")


def test_documents_keep_their_split_when_others_are_added() -> None:
    before, after = splits(corpus(200)), splits(corpus(300))
    assert [before.of(name) for name in corpus(200)] == [after.of(name) for name in corpus(200)]


def test_share_of_validation_is_about_what_was_asked() -> None:
    made = splits(corpus(500))
    share = sum(made.of(name) == "validation" for name in corpus(500)) / 500
    assert 0.14 < share < 0.26


def test_copies_share_a_cluster_and_a_split() -> None:
    documents = corpus(60)
    copies = {f"mirror:{name}": f"{text} and one more line" for name, text in documents.items()}
    made = splits(documents | copies)
    assert all(made.clusters[name] == made.clusters[f"mirror:{name}"] for name in documents)
    assert all(made.of(name) == made.of(f"mirror:{name}") for name in documents)


def test_copy_of_a_document_with_a_test_question_is_held_out_too() -> None:
    documents = corpus(5) | {"mirror:copy": corpus(5)["notes:3"]}
    made = splits(documents, tested=["notes:3"])
    assert made.of("notes:3") is None
    assert made.of("mirror:copy") is None
    assert not made.may_show("mirror:copy", "validation")


def test_document_with_a_validation_question_is_never_shown_in_train() -> None:
    made = splits(corpus(5), validated=["notes:2"])
    assert made.of("notes:2") == "validation"
    assert not made.may_show("notes:2", "train")
    assert made.may_show("notes:2", "validation")


def test_unknown_document_is_held_out() -> None:
    assert splits(corpus(2)).of("notes:forgotten") is None


def test_same_words_are_the_same_question() -> None:
    found = HeldOutQuestions([golden("q-1", "How do I start the server?")]).collision("how do I START the server")
    assert found is not None
    assert (found.golden, found.similarity) == ("q-1", 1.0)


def test_politer_wording_is_the_same_question() -> None:
    held_out = HeldOutQuestions([golden("q-1", "How long are snapshots of the ledger kept on disk?")])
    found = held_out.collision("Could you tell: for how long are the snapshots of our ledger kept on the disk?")
    assert found is not None
    assert found.golden == "q-1"


def test_other_name_makes_another_question() -> None:
    held_out = HeldOutQuestions([golden("q-1", "How do I install prefect with its redis extra?")])
    assert held_out.collision("How do I install mlflow with its redis extra?") is None
