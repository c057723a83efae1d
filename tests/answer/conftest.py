"""What tests of answers share."""

import pytest

from tasks.answer.answer import Answer


@pytest.fixture
def answer() -> Answer:
    """An answer without passages."""
    return Answer("Zephyr is a task queue.", "answer", None, (), (), (), "", 0, 0)
