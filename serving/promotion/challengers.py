"""The challengers, of the general answerer and of knowledge bases: each answers a share of the users.

load ─▶ smoke ─▶ answer the share ─▶ until another alias, a refusal or a lost trial

What is wrong with one harms neither its champion nor the others.
"""

from serving.promotion.aliases import Aliases
from serving.promotion.attempt import Attempt
from serving.promotion.own_answerers import Follows
from serving.promotion.state import ServingState
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion


class Challengers:
    """Lets what the aliases `challenger` name answer their share; used by one thread at a time."""

    def __init__(self, follower: Follows, state: ServingState, *, share: float) -> None:
        """Nothing is loaded yet; where the share of the users is 0, nothing is."""
        self._follower, self._state, self._share = follower, state, share

    def follow(self, aliases: Aliases) -> None:
        """Follow once."""
        if self._state.now is None:
            return
        for name in dict.fromkeys((None, *aliases.own_challengers, *self._state.now.challengers)):
            self._follow_one(name, aliases.challenger if name is None else aliases.own_challengers.get(name))

    def _follow_one(self, knowledge_base: str | None, wanted: ReleaseVersion | None) -> None:
        assert self._state.now is not None
        serving = self._state.now.challengers.get(knowledge_base)
        if not self._may_answer(knowledge_base, wanted):
            self._state.set_challenger(knowledge_base, None)
            return
        assert wanted is not None
        if serving is not None and serving.id == wanted.id:
            return
        self._state.set_challenger(knowledge_base, None)
        load = Attempt(str(wanted), lambda: self._follower.load_beside(wanted, is_recalled=False), wanted)
        challenger = self._follower.attempt(load)
        if challenger is not None:
            self._state.set_challenger(knowledge_base, challenger)
            now = self._state.now
            champion = now.answerer if knowledge_base is None else now.own.get(knowledge_base)
            self._follower.report_first(challenger, champion.version if champion else None)

    def _may_answer(self, knowledge_base: str | None, wanted: ReleaseVersion | None) -> bool:
        assert self._state.now is not None
        if self._share <= 0 or wanted is None or wanted.id == self._state.now.champion(knowledge_base).id:
            return False
        if wanted.lost_trial:
            self._follower.say(f"{wanted} lost its trial and answers nobody: {wanted.tags[Tag.TRIAL]}")
            return False
        return True
