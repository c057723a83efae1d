"""Token sequences laid end to end in one row without padding: who sees whom, at which position, and what is predicted.

Knows neither model nor loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.model.training.sequences import TokenSequence

if TYPE_CHECKING:
    import torch

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One forward pass.

    Attributes:
        tokens: (num_tokens,).
        positions: (num_tokens,); each branch goes on where its prefix ends.
        sequence: (num_tokens,) number of the token's sequence.
        branch: (num_tokens,) number of its branch in the row from 1; 0 in a prefix.
        kept: (num_learnt,) places whose next token is learnt, ascending.
        targets: (num_learnt,) those next tokens.
    """

    tokens: Integers
    positions: Integers
    sequence: Integers
    branch: Integers
    kept: Integers
    targets: Integers

    def visible(self) -> npt.NDArray[np.bool_]:
        """Return (num_tokens, num_tokens): whether the first token attends to the second.

        For instance, sequence 0 has the prefix `p q` and the branches `a b` and `c`, sequence 1 is `x y`: laid out as
        `p q a b c x y`, `b` sees `p q a b`, `c` sees `p q c` and has the position of `a`, and `y` sees `x y`.
        """
        earlier = np.tri(len(self.tokens), dtype=np.bool_)
        same_sequence = self.sequence[:, None] == self.sequence[None, :]
        same_branch = (self.branch[None, :] == 0) | (self.branch[:, None] == self.branch[None, :])
        seen: npt.NDArray[np.bool_] = earlier & same_sequence & same_branch
        return seen


def lay_out(sequences: Sequence[TokenSequence]) -> PackedRow:
    """Lay sequences end to end.

    For instance, the prefix `1 2` with one branch that reads `3` and learns `4 5` gives the tokens `1 2 3 4` (`5` is
    only predicted), of which the places 2 and 3 are kept, with the targets `4 5`.
    """
    tokens: list[int] = []
    positions: list[int] = []
    owners: list[int] = []
    branches: list[int] = []
    kept: list[int] = []
    targets: list[int] = []
    num_branches = 0

    def add(part: Sequence[int], first: int, owner: int, branch: int) -> None:
        tokens.extend(part)
        positions.extend(range(first, first + len(part)))
        owners.extend([owner] * len(part))
        branches.extend([branch] * len(part))

    for owner, sequence in enumerate(sequences):
        add(sequence.prefix, 0, owner, 0)
        for branch in sequence.branches:
            num_branches += 1
            add((*branch.read, *branch.learnt[:-1]), len(sequence.prefix), owner, num_branches)
            kept.extend(range(len(tokens) - len(branch.learnt), len(tokens)))
            targets.extend(branch.learnt)
    columns = (tokens, positions, owners, branches, kept, targets)
    return PackedRow(*(np.array(column, dtype=np.int64) for column in columns))


def rows_of(sequences: Sequence[TokenSequence], *, max_tokens: int) -> list[PackedRow]:
    """Return rows of at most `max_tokens` (or one longer sequence), in the order of the sequences."""
    groups: list[list[TokenSequence]] = []
    room = 0
    for sequence in sequences:
        if not groups or sequence.num_tokens > room:
            groups.append([])
            room = max_tokens
        groups[-1].append(sequence)
        room -= sequence.num_tokens
    return [lay_out(group) for group in groups]


def attention_mask(row: PackedRow, dtype: "torch.dtype", device: "torch.device") -> "torch.Tensor":
    """Return what transformers adds to attention scores: (1, 1, num_tokens, num_tokens), 0 or the least number."""
    import torch

    visible = torch.from_numpy(row.visible())
    mask = torch.full(visible.shape, torch.finfo(dtype).min, dtype=dtype).masked_fill(visible, 0)
    return mask[None, None].to(device)
