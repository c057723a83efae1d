"""A classifier of form: does an answer read as the house writes, or as the base model answers the same questions?

Logistic regression over n-grams of masked tokens (`form`) and lengths. What it can tell is measured by
cross-validation that leaves out whole questions; where it cannot tell the two apart there is no score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.model.style.form import form_tokens, surface

MIN_PAIRS = 20
"""Questions that the house and the base both answered, below which nothing is learnt."""
MIN_AUC = 0.75
"""Below it the two are not told apart well enough for a score; 0.5 is a coin."""
NUM_FOLDS = 5
_MAX_DEVIATIONS = 3.0

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StylePair:
    """The house's answer and the base's to one question; `question` is what folds go by."""

    question: str
    house: str
    base: str


@dataclass(frozen=True, slots=True)
class FormModel:
    """A fitted regression over n-grams of masked tokens, and over how far lengths are from the house's.

    Attributes:
        center: of the house's `surface`, shape (10,); `scale` is its spread.
    """

    center: Values
    scale: Values
    _ngrams: Any
    _regression: Any

    def probabilities(self, texts: Sequence[str]) -> Values:
        """Return how probable it is that the house wrote each text, shape (num_texts,)."""
        features = _features(self._ngrams, self.center, self.scale, texts)
        return np.asarray(self._regression.predict_proba(features)[:, 1], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class StyleClassifier:
    """A fitted score in [0, 1]: the probability that the house wrote a text.

    Attributes:
        auc: of answers to questions that were held out, house against base.
        house_mean: mean score of the house's own held-out answers, which is the ceiling.
        base_mean: of the base's, which is the floor.
    """

    auc: float
    house_mean: float
    base_mean: float
    num_questions: int
    model: FormModel

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the score of each text."""
        return self.model.probabilities(texts).tolist() if texts else []


def learn_style(pairs: Sequence[StylePair]) -> StyleClassifier | str:
    """Fit the classifier; a text in its place says why there is no score.

    Args:
        pairs: several of one question are left out together.
    """
    num_questions = len({pair.question for pair in pairs})
    if num_questions < MIN_PAIRS:
        return (
            f"at least {MIN_PAIRS} questions with an answer of the house and one of the base are needed, found "
            f"{num_questions}; add chats to style.examples"
        )
    house, base = _held_out_scores(pairs)
    # The share of pairs of texts that stand in the right order: the area under the ROC curve.
    auc = float(((house[:, None] > base) + 0.5 * (house[:, None] == base)).mean())
    if auc < MIN_AUC:
        return (
            f"the house's answers are not told from the base's by their form: AUC {auc:.2f} on {num_questions} "
            f"held-out questions, at least {MIN_AUC} is needed; the base writes so already, or the examples have no "
            "common form"
        )
    return StyleClassifier(auc, float(house.mean()), float(base.mean()), num_questions, _fitted(pairs))


def _held_out_scores(pairs: Sequence[StylePair]) -> tuple[Values, Values]:
    """Scores of the house's and of the base's answers, each by a model that saw no answer to its question."""
    from sklearn.model_selection import GroupKFold

    house, base = np.zeros(len(pairs)), np.zeros(len(pairs))
    for learnt, held_out in GroupKFold(NUM_FOLDS).split(pairs, groups=[pair.question for pair in pairs]):
        model = _fitted([pairs[place] for place in learnt])
        house[held_out] = model.probabilities([pairs[place].house for place in held_out])
        base[held_out] = model.probabilities([pairs[place].base for place in held_out])
    return house, base


def _fitted(pairs: Sequence[StylePair]) -> FormModel:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    house, base = [pair.house for pair in pairs], [pair.base for pair in pairs]
    ngrams = TfidfVectorizer(
        tokenizer=form_tokens, token_pattern=None, lowercase=False, ngram_range=(1, 3), min_df=2, sublinear_tf=True
    ).fit([*house, *base])
    own, every = _surfaces(house), _surfaces([*house, *base])
    scale = np.maximum(own.std(axis=0), every.std(axis=0) / 2)
    center, scale = own.mean(axis=0), np.where(scale > 0, scale, 1.0)
    labels = np.repeat([1, 0], len(pairs))
    features = _features(ngrams, center, scale, [*house, *base])
    return FormModel(center, scale, ngrams, LogisticRegression(max_iter=2000).fit(features, labels))


def _features(ngrams: Any, center: Values, scale: Values, texts: Sequence[str]) -> Any:
    """N-grams beside deviations, a sparse matrix of a row a text.

    Lengths count by how far they are from the house's, either way: else one word would be better than a short answer
    where the base writes long ones.
    """
    from scipy.sparse import csr_matrix, hstack

    deviations = np.minimum(np.abs(_surfaces(texts) - center) / scale, _MAX_DEVIATIONS)
    return hstack([ngrams.transform(texts), csr_matrix(deviations)]).tocsr()


def _surfaces(texts: Sequence[str]) -> Values:
    return np.stack([surface(text) for text in texts])
