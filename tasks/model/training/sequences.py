"""Examples and documents as token sequences: what is read, and what is learnt of it.

Examples over the same passages share one prefix: it is computed once, and each question is a branch behind it. The
tokens are exactly those that `TransformersGenerator` reads when it serves. Knows no tensors.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.answer.generators.transformers import TransformersGenerator
from tasks.errors import ConfigurationError
from tasks.model.examples.example import Example
from tasks.model.examples.tokens import Tokens, answer_tokens, messages_of


@dataclass(frozen=True, slots=True)
class Branch:
    """One continuation of a prefix: `read` leads to `learnt`, whose tokens bear the loss; neither is empty."""

    read: Tokens
    learnt: Tokens


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A prefix with its branches, each of which sees the prefix and itself."""

    prefix: Tokens
    branches: tuple[Branch, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens that are computed; the last of each branch is only predicted."""
        return len(self.prefix) + sum(_width(branch) for branch in self.branches)

    @property
    def num_learnt(self) -> int:
        """Tokens that bear the loss."""
        return sum(len(branch.learnt) for branch in self.branches)


def example_sequences(
    examples: Iterable[Example], generator: TransformersGenerator, *, max_tokens: int
) -> list[TokenSequence]:
    """Return sequences of at most `max_tokens` in which examples with the same passages share them; answers are learnt.

    Raises:
        ConfigurationError: one example alone is longer.
    """
    contexts: dict[tuple[str, ...], list[Branch]] = {}
    for example in examples:
        branch = Branch(tuple(generator.prompt_tokens(messages_of(example))), answer_tokens(generator, example.answer))
        _check_length(example, branch, max_tokens)
        contexts.setdefault(tuple(f"{p.title}\0{p.text}" for p in example.passages), []).append(branch)
    return [sequence for branches in contexts.values() for sequence in shared(branches, max_tokens=max_tokens)]


def anchor_sequences(
    examples: Iterable[Example], generator: TransformersGenerator, *, max_tokens: int
) -> list[TokenSequence]:
    """Return replay examples, sharing how their chats begin; all that follows their first token is "learnt".

    It is not learnt as text, but anchors the model to what the base model says of it.
    """
    whole = [
        (*generator.prompt_tokens(messages_of(example)), *answer_tokens(generator, example.answer))[:max_tokens]
        for example in examples
    ]
    return [
        TokenSequence(s.prefix, tuple(Branch(b.read[:1], b.read[1:] + b.learnt) for b in s.branches))
        for s in shared([Branch(tokens[:-1], tokens[-1:]) for tokens in whole], max_tokens=max_tokens)
    ]


def text_sequences(
    texts: Iterable[str], generator: TransformersGenerator, *, max_tokens: int, min_tokens: int = 32
) -> list[TokenSequence]:
    """Return text cut into sequences of `max_tokens`, every token learnt; rests below `min_tokens` are left out."""
    end = generator.tokenizer.eos_token_id
    sequences = []
    for text in texts:
        tokens = (*generator.tokenizer(text, add_special_tokens=False)["input_ids"], end)
        for start in range(0, len(tokens), max_tokens):
            piece = tokens[start : start + max_tokens]
            if len(piece) >= min_tokens:
                sequences.append(TokenSequence((), (Branch(piece[:1], piece[1:]),)))
    return sequences


def shared(branches: Sequence[Branch], *, max_tokens: int) -> list[TokenSequence]:
    """Put branches behind the tokens that all of them begin with, in as few sequences as `max_tokens` allows.

    For instance, `1 2 3 7` and `1 2 3 8 9`, each of which learns its last token, become the prefix `1 2` with the
    branches `3` -> `7` and `3 8` -> `9`: a branch keeps a token to read, so the prefix ends one before `3`.
    """
    length = _common_length([branch.read for branch in branches]) if len(branches) > 1 else 0
    prefix = branches[0].read[:length]
    sequences: list[TokenSequence] = []
    together: list[Branch] = []
    room = max_tokens - length
    for branch in (Branch(whole.read[length:], whole.learnt) for whole in branches):
        if together and _width(branch) > room:
            sequences.append(TokenSequence(prefix, tuple(together)))
            together, room = [], max_tokens - length
        together.append(branch)
        room -= _width(branch)
    return [*sequences, TokenSequence(prefix, tuple(together))]


def _common_length(reads: Sequence[Tokens]) -> int:
    """Count the tokens that all begin with; each keeps one of its own at least, which predicts what it learns first."""
    longest = min(len(read) for read in reads) - 1
    return next((place for place in range(longest) if len({read[place] for read in reads}) > 1), longest)


def _width(branch: Branch) -> int:
    return len(branch.read) + len(branch.learnt) - 1


def _check_length(example: Example, branch: Branch, max_tokens: int) -> None:
    if _width(branch) > max_tokens:
        raise ConfigurationError(
            f"an example must fit fine_tuning.max_length ({max_tokens}), {example.example_id} has "
            f"{_width(branch)} tokens; raise it, or lower generation.max_passage_tokens"
        )
