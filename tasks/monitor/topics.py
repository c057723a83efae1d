"""Unanswered questions by topic: what several people ask now and nobody asked before is a document that is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.monitor.signals import too_many

SAME_TOPIC = 0.60
"""Cosine above which two questions are of one topic."""
MIN_QUESTIONS = 4
MIN_USERS = 3
_MAX_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that is asked about more than before, without an answer.

    Attributes:
        examples: the question nearest to the middle first.
        before: as many questions of it in the reference.
    """

    examples: tuple[str, ...]
    num_questions: int
    num_users: int
    before: int
    p_value: float


def rising_topics(
    questions: Sequence[str],
    users: Sequence[str],
    vectors: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32],
    *,
    share_of_time: float,
) -> list[Topic]:
    """Return the topics of unanswered questions that are new or grow, the largest first.

    Args:
        questions: unanswered ones of the last days.
        users: who asked each.
        vectors: of the questions, unit length, shape (num_questions, dim).
        reference: of unanswered questions of the weeks before, shape (num_before, dim).
        share_of_time: the last days as a share of both together.
    """
    topics = []
    for members in groups(vectors):
        middle = vectors[members].mean(axis=0)
        middle /= np.linalg.norm(middle)
        before = int((reference @ middle >= SAME_TOPIC).sum()) if len(reference) else 0
        askers = {users[index] or f"#{index}" for index in members}
        p_value = too_many(len(members), before, share_of_time=share_of_time)
        if p_value is None or len(members) < MIN_QUESTIONS or len(askers) < MIN_USERS:
            continue
        nearest = sorted(members, key=lambda index: -float(vectors[index] @ middle))
        examples = tuple(dict.fromkeys(questions[index] for index in nearest))[:_MAX_EXAMPLES]
        topics.append(Topic(examples, len(members), len(askers), before, p_value))
    return sorted(topics, key=lambda topic: -topic.num_questions)


def groups(vectors: npt.NDArray[np.float32]) -> list[list[int]]:
    """Return the rows by topic: each joins the first group whose middle is near, in order; shape (num, dim)."""
    sums = np.zeros_like(vectors)
    members: list[list[int]] = []
    for index, vector in enumerate(vectors):
        middles = sums[: len(members)]
        near = middles @ vector / np.linalg.norm(middles, axis=1) if members else np.empty(0)
        best = int(np.argmax(near)) if members else -1
        if best < 0 or near[best] < SAME_TOPIC:
            best = len(members)
            members.append([])
        sums[best] += vector
        members[best].append(index)
    return members
