"""Who may read what: sets of groups and the ids that stand for them. Pure; `tasks.index.access_tables` stores them.

A chunk's row holds one `access_id`, which stands for its groups. A row of an older release, brought back by a rollback,
is judged by the document's latest access too, so a restriction outlives every rollback.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.corpus.document import EVERYONE, sha256
from tasks.errors import ConfigurationError
from tasks.use import RESERVED, may_train, trainers_of

MAX_GROUP_CHARACTERS = 200


def access_id(groups: Iterable[str]) -> int:
    """Return the 62-bit id of a set of groups: the same on every machine and in every rebuild."""
    return int(sha256(*sorted(set(groups)))[:16], 16) >> 2


@dataclass(frozen=True, slots=True)
class AccessMap:
    """Who may read what, as of one moment.

    Attributes:
        sets: groups by `access_id`.
        changes: the latest known groups of documents whose access ever changed.
    """

    sets: Mapping[int, frozenset[str]]
    changes: Mapping[str, frozenset[str]]

    def readable_ids(self, groups: Iterable[str]) -> list[int]:
        """Return the ids of the sets that share a group with the asker; nobody's set (no group) is in none."""
        asker = asker_groups(groups)
        return sorted(identifier for identifier, members in self.sets.items() if members & asker)

    def may_read(self, document_id: str, identifier: int, groups: Iterable[str]) -> bool:
        """Say whether the asker may read a row, by the row's own set and by what was learned since; fails closed."""
        asker = asker_groups(groups)
        if not self.sets.get(identifier, frozenset()) & asker:
            return False
        return document_id not in self.changes or bool(self.changes[document_id] & asker)

    def may_train(self, document_id: str, identifier: int) -> bool:
        """Say whether a row may enter weights, by the row's own set and by what was learned since; fails closed."""
        row = self.sets.get(identifier)
        return row is not None and may_train(row | self.changes.get(document_id, frozenset()))


class TrainingGroups(frozenset[str]):
    """The audience of a training set: what is only for training is read by it, and by no asker."""


def asker_groups(groups: Iterable[str]) -> frozenset[str]:
    """Return the asker's groups with `everyone`; a name of ours that an asker brings counts for nothing.

    Raises:
        ConfigurationError: a group's name is empty or longer than `MAX_GROUP_CHARACTERS`.
    """
    names = frozenset(groups)
    for name in names:
        if not name or len(name) > MAX_GROUP_CHARACTERS:
            raise ConfigurationError(f"a group must have 1 to {MAX_GROUP_CHARACTERS} characters, found {len(name)}")
    readers = frozenset(name for name in names if not name.startswith(RESERVED)) | {EVERYONE}
    return readers | frozenset(trainers_of(readers)) if isinstance(groups, TrainingGroups) else readers
