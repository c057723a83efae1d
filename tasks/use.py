"""What a document may be used for, told by its access: one gate decides who reads it, for serving and for training.

| `use` | Groups that it gets | Search | Training |
|---|---|---|---|
| `both` | its own | its readers | where the audience may read it |
| `retrieve` | its own and `only:retrieve`, a mark that is no group of anybody | its readers | never |
| `train` | `only:train:GROUP` for each, which no asker can have | never | where the audience is one of them |
"""

from collections.abc import Collection, Iterable
from typing import Literal, get_args

Use = Literal["retrieve", "train", "both"]
USES: tuple[Use, ...] = get_args(Use)
RESERVED = "only:"
"""How our marks begin; the name of a group has no `:` in a document, and what an asker brings of it is passed over."""
RETRIEVE_ONLY = "only:retrieve"
_TRAIN_ONLY = "only:train:"


def narrower(one: Use, other: Use) -> Use | None:
    """Return what both allow; None: nothing, since one says to retrieve only and the other to train only."""
    if other in (one, "both"):
        return one
    return other if one == "both" else None


def marked(access: Iterable[str], use: Use | None) -> tuple[str, ...]:
    """Return the groups of a document with what it may be used for; None: for nothing, so nobody reads it."""
    groups = tuple(access)
    if use is None or not groups:
        return ()
    if use == "train":
        return trainers_of(groups)
    return (*groups, RETRIEVE_ONLY) if use == "retrieve" else groups


def trainers_of(groups: Iterable[str]) -> tuple[str, ...]:
    """Return what stands for the groups where a document is only for training."""
    return tuple(f"{_TRAIN_ONLY}{group}" for group in groups)


def may_train(access: Collection[str]) -> bool:
    """Say whether the groups of a document leave training open."""
    return RETRIEVE_ONLY not in access
