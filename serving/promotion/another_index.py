"""What answers beside the general answerer when another index comes to serve: each is asked the smoke questions.

new index ─▶ passes with the general answerer ─▶ each other one over it ─▶ swap, without those that failed

One that fails is refused as at its own promotion, and harms neither the index nor the others: the general answerer
answers in its place.
"""

from dataclasses import replace

from serving.promotion.attempt import Attempt
from serving.promotion.own_answerers import Follows
from serving.promotion.state import Serving
from serving.promotion.swap import LoadedAnswerer
from tasks.releases.model_registry import CHAMPION


def passing(follower: Follows, serving: Serving) -> Serving:
    """Return what is about to serve, without the answerers that fail over its index; the general one passed.

    One that fails by no fault of its own is loaded again at the next poll.
    """

    def passes(loaded: LoadedAnswerer) -> bool:
        version = loaded.version
        smoke = Attempt(str(version), lambda: follower.smoke(serving.index, loaded), version, needs_promoter=False)
        if follower.attempt(smoke) is not None:
            return True
        if version is not None and version.alias == CHAMPION and follower.verdicts.is_refused(version):
            # A restart without MLflow must not bring it back.
            follower.remember(version.kind, None)
        return False

    own = {name: loaded for name, loaded in serving.own.items() if passes(loaded)}
    challengers = {name: loaded for name, loaded in serving.challengers.items() if passes(loaded)}
    return replace(serving, own=own, challengers=challengers)
