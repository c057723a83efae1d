"""One document as one of its readers may see it: nothing of other readers, of other askers, or for the operator alone.

The original is not read from its source: it may say by now that this asker may not read it. Its address is shown.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tasks.answer.inspection.citing import CitingAnswer
from tasks.answer.inspection.document import Event, ShownDocument, corpus_files, describe
from tasks.answer.inspection.find import Name, find_documents
from tasks.corpus import quarantine
from tasks.corpus.document import EVERYONE
from tasks.corpus.quarantine import HeldItem
from tasks.corpus.snapshot import fold_state
from tasks.index.access import AccessMap, access_id, asker_groups
from tasks.index.release import Release
from tasks.settings import Settings

MAX_TEXT_CHARACTERS = 200_000
MAX_NAMES = 20

State = Literal["searched", "expired", "set_aside"]

_WHY_HELD = {
    "no_secrets": "it seems to hold a password or a key",
    "no_hidden_text": "it holds text that its readers do not see",
    "no_encoding_damage": "letters of it are damaged",
    "no_near_duplicate": "it nearly repeats another document",
    "little_boilerplate": "it is mostly text that many documents share",
    "no_personal_data": "it seems to hold personal data",
    "in_language": "it is in a language that is not expected here",
}
"""By a part of the rule's name: reasons of the gate may name other documents, or what the operator looks for."""


@dataclass(frozen=True, slots=True)
class Section:
    """Where a passage that search can find stands in the text."""

    start: int
    end: int
    headings: str


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """An answer that this asker got, and that cites the document."""

    asked_at: str
    question: str


@dataclass(frozen=True, slots=True)
class ReaderView:
    """What a reader sees of a document.

    Attributes:
        state: `searched`; `expired`: its time is over; `set_aside`: it was held back and no version of it is searched.
        reason: why it, or the version after the one that is searched, was set aside.
        is_public: whether everyone may read it.
        through: the asker's own groups that may read it; other groups are not named.
        text: the beginning of what was extracted, `num_characters` in all.
        sections: the passages, within the text.
        num_other_answers: answers that cite it and that others got.
    """

    document_id: str
    title: str
    uri: str
    knowledge_base: str
    state: State
    reason: str | None
    updated_at: str | None
    expires_at: str | None
    is_public: bool
    through: tuple[str, ...]
    text: str
    num_characters: int
    sections: tuple[Section, ...]
    history: tuple[Event, ...]
    own_answers: tuple[OwnAnswer, ...]
    num_other_answers: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields that the page draws."""
        return asdict(self)


class Reading:
    """What one asker may know of the documents of a release and of the quarantine."""

    def __init__(
        self,
        release: Release,
        access: AccessMap,
        groups: Sequence[str],
        settings: Settings,
        knowledge_bases: Collection[str] = (),
    ) -> None:
        """Read the names of the documents that the asker may read.

        Args:
            release: that answers the asker.
            access: who may read what, as of now.
            groups: of the asker.
            settings: where all of it lies.
            knowledge_bases: which alone the asker reads; none: any.
        """
        self._release, self._settings, self._access = release, settings, access
        self._asker = asker_groups(groups)
        state = fold_state(corpus_files(release, settings))
        state = state.select(["document_id", "title", "uri", "access", "knowledge_base"])
        rows = list(zip(*(column.to_pylist() for column in state.columns), strict=True))
        self._released = {row[0]: frozenset(row[3]) for row in rows}
        held = {item.document_id: item for item in quarantine.held(settings.home)}
        self.names = {
            document_id: Name(document_id, title, uri)
            for document_id, title, uri, readers, knowledge_base in rows
            if access.may_read(document_id, access_id(readers), self._asker)
            and (not knowledge_bases or knowledge_base in knowledge_bases)
        }
        # Of what no release holds it is not kept which knowledge base it would be in.
        unreleased = [item for item in held.values() if item.document_id not in self._released and not knowledge_bases]
        only_held = [item for item in unreleased if may_know(item, access, groups)]
        self.names |= {item.document_id: Name(item.document_id, item.title, item.uri) for item in only_held}
        self._held = held

    def find(self, wanted: str) -> list[Name]:
        """Return the documents that may be meant, of those that the asker may read."""
        return find_documents(wanted, self.names)[:MAX_NAMES] if wanted.strip() else []

    def view(self, document_id: str, user: str | None) -> ReaderView | None:
        """Return what the asker sees of a document; None where there is none, or none for this asker.

        Args:
            document_id: which.
            user: the asker's pseudonym; None: answers are nobody's own.
        """
        if document_id not in self.names:
            return None
        item = self._held.get(document_id)
        shown = describe(self.names[document_id], self._release, item, self._settings)
        if shown.state == "gone":
            return None
        if shown.state == "live":
            return _view(shown, item, self._through(document_id, frozenset(shown.readers)), user)
        held_for = frozenset(item.access) & self._asker if item else frozenset[str]()
        return _view(shown, item, held_for, user) if held_for else None

    def _through(self, document_id: str, readers: frozenset[str]) -> frozenset[str]:
        """Return the asker's groups that may read: where the release lets one in and the latest word another, both."""
        learned = self._access.changes.get(document_id, frozenset())
        return readers & self._asker or (self._released[document_id] | learned) & self._asker


def may_know(item: HeldItem, access: AccessMap, groups: Sequence[str]) -> bool:
    """Say whether an asker may know that a document is held: it, and what was learned of it since, names their groups.

    Args:
        item: in quarantine.
        access: who may read what, as of now.
        groups: of the asker.
    """
    asker = asker_groups(groups)
    learned = access.changes.get(item.document_id, asker)
    return bool(frozenset(item.access) & learned & asker)


def _view(shown: ShownDocument, item: HeldItem | None, shared: frozenset[str], user: str | None) -> ReaderView:
    cited = [answer for answer in shown.cited_by if answer.cited]
    own = [answer for answer in cited if user is not None and answer.user == user]
    return ReaderView(
        document_id=shown.document_id,
        title=shown.title,
        uri=shown.uri,
        knowledge_base=shown.knowledge_base,
        state=_state(shown),
        reason=_reason(item) if item else None,
        updated_at=shown.updated_at,
        expires_at=shown.expires_at,
        is_public=EVERYONE in shared,
        through=tuple(sorted(shared - {EVERYONE})),
        # What was set aside may hold what nobody should see, a password for one.
        text=shown.text[:MAX_TEXT_CHARACTERS] if shown.state == "live" else "",
        num_characters=len(shown.text) if shown.state == "live" else 0,
        sections=_sections(shown),
        history=shown.history,
        own_answers=tuple(_own(answer) for answer in own),
        num_other_answers=len(cited) - len(own),
    )


def _state(shown: ShownDocument) -> State:
    if shown.state != "live":
        return "set_aside"
    is_over = shown.expires_at is not None and dt.datetime.fromisoformat(shown.expires_at) <= dt.datetime.now(dt.UTC)
    return "expired" if is_over else "searched"


def _sections(shown: ShownDocument) -> tuple[Section, ...]:
    return tuple(
        Section(chunk.start, chunk.end, chunk.headings) for chunk in shown.chunks if chunk.end <= MAX_TEXT_CHARACTERS
    )


def _own(answer: CitingAnswer) -> OwnAnswer:
    return OwnAnswer(answer.asked_at, answer.question)


def _reason(item: HeldItem) -> str:
    """Why it was set aside, in words that name no other document and no rule's arguments."""
    if item.stage == "parse":
        return item.reason
    return next(
        (words for part, words in _WHY_HELD.items() if part in item.rule),
        "it breaks a rule of those who run this assistant",
    )
