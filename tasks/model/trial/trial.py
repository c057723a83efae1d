"""The trial of a challenger now: read its answers and the champion's, judge, and say it in MLflow.

answers by version ─▶ verdict ─▶ tag `trial` of the version ─▶ run in the experiment `almanac-trial`

A challenger whose tag says `worse` is given to nobody (`serving.promotion.follow`) until a person deletes the tag.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.model.training import run_log
from tasks.model.trial.outcomes import Outcomes, read_outcomes
from tasks.model.trial.verdict import TrialVerdict, judge
from tasks.releases.kind import ANSWERER, ReleaseKind
from tasks.releases.lifecycle import mark
from tasks.releases.tags import Tag
from tasks.releases.trial import current_challenger
from tasks.settings import Settings
from tasks.tenant import of_tenant

EXPERIMENT = "almanac-trial"


@dataclass(frozen=True, slots=True)
class Trial:
    """A challenger beside what serves.

    Attributes:
        challenger, champion: the answerers' versions.
        answers: of the challenger, and of the champion in the same time.
    """

    challenger: str
    champion: str
    answers: tuple[int, int]
    verdict: TrialVerdict

    @property
    def text(self) -> str:
        """Return the verdict in one line."""
        new, old = self.answers
        return f"{self.verdict.verdict}: {self.verdict.reason}; {new} answers, {old} of {self.champion}"


def run_trial(settings: Settings, champion: str, kind: ReleaseKind = ANSWERER) -> Trial | None:
    """Judge a challenger and say it in MLflow; None: there is none, it answered nobody yet, or it lost already.

    Args:
        settings: where MLflow is.
        champion: the version of what answers the other users, as traces name it.
        kind: whose challenger; that of a knowledge base is judged by the questions to it alone, whatever else its
            champion answers.

    Raises:
        DependencyError: MLflow does not answer.
    """
    challenger = current_challenger(settings, kind)
    if challenger is None or challenger.lost_trial:
        return None
    outcomes = read_outcomes(settings, challenger.label, kind.knowledge_base)
    new, old = outcomes.get(challenger.label), outcomes.get(champion, Outcomes())
    if new is None:
        return None
    verdict = judge(new.tallies, old.tallies)
    trial = Trial(challenger.label, champion, (new.answers, old.answers), verdict)
    _log(settings, trial)
    mark(settings, challenger, {Tag.TRIAL: trial.text})
    return trial


def _log(settings: Settings, trial: Trial) -> None:
    name = f"{trial.challenger} against {trial.champion}"
    run_id = run_log.open_run(settings, of_tenant(EXPERIMENT), name, name=name)
    run_log.log_metrics(settings, run_id, dict(_numbers(trial)), step=sum(trial.answers))
    run_log.end_run(settings, run_id, tags={"verdict": trial.verdict.verdict, "reason": trial.verdict.reason})


def _numbers(trial: Trial) -> Iterator[tuple[str, float]]:
    for who, answers in zip(("challenger", "champion"), trial.answers, strict=True):
        yield f"{who}/answers", float(answers)
    for entry in trial.verdict.compared:
        for who, mean in (("challenger", entry.challenger), ("champion", entry.champion)):
            if mean is not None:
                yield f"{who}/{entry.metric}", mean.value
        if entry.change is not None:
            yield f"difference/{entry.metric}", entry.change.mean
            yield f"difference/{entry.metric}_low", entry.change.low
            yield f"difference/{entry.metric}_high", entry.change.high
