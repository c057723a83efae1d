"""The challengers of knowledge bases: each answers its share of those who ask it alone, until it is judged."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.status import system_status
from serving.promotion.live import LivePair
from serving.promotion.state import place
from tasks.answer.answer import Answer
from tasks.answer.trace import TraceContext, flush_traces, traced
from tasks.model.trial import sequential
from tasks.releases.kind import answerer_of
from tasks.releases.lifecycle import promote
from tasks.releases.model_registry import CHALLENGER
from tasks.releases.tags import Tag
from tests.answerers import register_answerer, save_answerer
from tests.serving.swap.swap_world import ANSWERER, INDEX, World, break_base

pytestmark = pytest.mark.slow
NOTES = answerer_of("notes")
SHARE = 0.3
USERS = tuple(f"user {number}" for number in range(60))


def register_own(world: World, seed: int, *, broken: Callable[[Path], None] | None = None) -> str:
    """Register the answerer of a seed as that of `notes`: it is its challenger then."""
    folder = world.folder.parent / f"notes-{seed}"
    save_answerer(folder, world.params.generation, world.settings, seed=seed)
    if broken is not None:
        broken(folder)
    return register_answerer(world.settings, folder, key=folder.name, kind=NOTES)


def answered_by(live: LivePair, knowledge_base: str | None = None) -> dict[str, str]:
    """Return the version that answers each user."""
    versions = {}
    for user in USERS:
        with live.acquire(user, knowledge_base) as pair:
            versions[user] = pair.answerer_version
    return versions


def shared(challenger: str, champion: str, knowledge_base: str | None = None) -> dict[str, str]:
    return {user: challenger if place(user, knowledge_base) < SHARE else champion for user in USERS}


def plant(world: World, version: str, *, abstains: bool) -> None:
    """Let eight users have asked `notes` five questions each."""
    answer = Answer("text", "nothing_found" if abstains else "answer", None, (), (), (), "", 0, 0)
    for number in range(40):
        filters = {"knowledge_bases": ["notes"]}
        context = TraceContext("1", version, ("everyone",), filters, user=f"{version}-{number % 8}")
        traced("What?", list, lambda _: answer, context=context, settings=world.settings)


def test_challenger_answers_its_share_of_who_asks_its_knowledge_base_then_all_of_them_as_champion(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    world.point(ANSWERER, "1")
    world.point(ANSWERER, "2", CHALLENGER)
    register_own(world, 3)
    live = open_live(challenger_share=SHARE)
    live.follow()

    general, on_notes = answered_by(live), answered_by(live, "notes")
    assert general == answered_by(live, "wiki") == shared("2", "1")
    # Who is in one trial says nothing of who is in the other: of all others the general trial goes on.
    assert on_notes == {
        user: "notes/1" if place(user, "notes") < SHARE else version for user, version in general.items()
    }
    assert min(Counter(on_notes.values()).values()) > 0 and len(set(on_notes.values())) == 3
    with live.acquire(None, "notes") as pair:
        assert pair.answerer_version == "1"
    assert {name: entry.share for name, entry in live.status().own_challengers.items()} == {"notes": SHARE}
    assert "promotion" in world.tags(NOTES.model, "1")

    loaded = live._state.now.challengers["notes"]
    promote(world.settings, NOTES, "1")
    live.follow()
    assert set(answered_by(live, "notes").values()) == {"notes/1"}
    assert live._state.now.own["notes"] is loaded
    assert live.status().own_challengers == {}
    assert answered_by(live) == general

    world.point(NOTES.model, register_own(world, 4), CHALLENGER)
    live.follow()
    assert answered_by(live, "notes") == shared("notes/2", "notes/1", "notes")
    world.point(INDEX, "2")
    live.follow()
    with live.acquire(min(USERS, key=lambda user: place(user, "notes")), "notes") as pair:
        assert (pair.index_version, pair.answerer_version) == ("2", "notes/2")
    assert live.status().degraded is False, live.status().reasons


def test_challenger_that_is_broken_or_lost_its_trial_answers_nobody_and_the_champion_answers_all(
    world: World, open_live: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequential, "MIN_USERS", 5)
    monkeypatch.setattr(sequential, "MIN_ANSWERS", 20)
    promote(world.settings, NOTES, register_own(world, 3))
    live = open_live(challenger_share=1.0)
    broken = register_own(world, 4, broken=break_base)
    live.follow()
    assert set(answered_by(live, "notes").values()) == {"notes/1"}
    assert "must run on base" in world.tags(NOTES.model, broken)["refused"]
    assert world.named(NOTES.model, CHALLENGER) == broken

    world.point(NOTES.model, register_own(world, 5), CHALLENGER)
    live.follow()
    assert set(answered_by(live, "notes").values()) == {"notes/3"}
    plant(world, "notes/3", abstains=True)
    plant(world, "notes/1", abstains=False)
    flush_traces()
    live._trial.look()
    assert world.tags(NOTES.model, "3")[Tag.TRIAL].startswith("worse: abstentions +1.000")
    live.follow()

    assert set(answered_by(live, "notes").values()) == {"notes/1"}
    assert any("lost its trial" in reason for reason in live.status().reasons)
    assert world.named(NOTES.model, CHALLENGER) == "3"
    assert system_status(world.params, world.settings).own_trials["notes"].startswith("version 3: worse: abstentions")
