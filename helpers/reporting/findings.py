"""What a report says: the gain, the spending, warnings and what to change, each measured from the study."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.config import STAGES
from gazegaussian.utils.counts import counted
from helpers.analysis.borders import borders
from helpers.analysis.confirm_report import ConfirmReport
from helpers.analysis.gain_text import chance_alone
from helpers.results.attributes import REASON, STAGE, STOP_REASON
from helpers.results.lookup import readable_config
from helpers.results.ranking import baseline_trial, best_trial, is_feasible, metric_names, signs
from helpers.results.remedies import is_out_of_memory_reason, remedy
from helpers.results.trial_states import FINISHED, epochs_of, seconds_per_epoch, state_name, successors, total_usage
from helpers.study.stop import StopKind, stop_kind
from helpers.utils.formatting import duration
from helpers.utils.paths import COMMAND, typed_path

MANY_PRUNED = 5  # pruned in a row after the first, none complete among them
ENOUGH_FINISHED = 10  # trials, before a missing gain or a lazy pruner is remarked on
LITTLE_SAVED = 0.1  # share of the epochs


@dataclass(frozen=True)
class ResourceUsage:
    """Epochs and seconds, trained and not."""

    epochs: int
    seconds: float
    saved_epochs: int  # that pruned trials did not train
    saved_seconds: float  # times each one's own seconds per epoch
    saved_unknown: int  # pruned trials whose seconds per epoch were not measured
    side_by_side: bool = False  # whether trials ran at the same time, so that less time went by

    @property
    def saved_share(self) -> float:
        """Of the epochs that the same trials would have had without pruning."""
        return self.saved_epochs / max(self.epochs + self.saved_epochs, 1)

    @property
    def trained(self) -> str:
        """Epochs and training time in words."""
        added = " (the sum over trials, some of which ran side by side)" if self.side_by_side else ""
        return f"{counted(self.epochs, 'epoch')} in {duration(self.seconds)} of training{added}"


def measure_usage(study: optuna.Study, folder: Path) -> ResourceUsage:
    """Add up all trials, and what pruning saved."""
    trials = study.get_trials(deepcopy=False)
    config = readable_config(study)
    planned = None if config is None else config.training.epochs
    saved_epochs = 0
    unknown = 0
    saved_seconds = 0.0
    for trial in trials:
        if trial.state == TrialState.PRUNED and planned:
            each = seconds_per_epoch(trial, folder)
            left = max(0, planned - epochs_of(trial, folder))
            saved_epochs += left
            saved_seconds += left * (each or 0.0)
            unknown += each is None
    used = total_usage(trials, folder)
    return ResourceUsage(used.epochs, used.seconds, saved_epochs, saved_seconds, unknown, _overlap(trials))


def _overlap(trials: list[FrozenTrial]) -> bool:
    """Whether a trial started before another one ended; of those that run now the end is open."""
    started = [trial for trial in trials if trial.datetime_start is not None]
    started.sort(key=lambda trial: trial.datetime_start or datetime.min)
    return any(
        former.datetime_complete is None or (later.datetime_start or datetime.min) < former.datetime_complete
        for former, later in itertools.pairwise(started)
    )


def gain(study: optuna.Study) -> float | None:
    """How much better the best trial is than the baseline in the first objective; None without a feasible baseline."""
    best = best_trial(study)
    first = baseline_trial(study)
    if best is None or first is None or not is_feasible(first):
        return None
    return signs(study)[0] * (first.values[0] - best.values[0])


def headline(study: optuna.Study, confirm: ConfirmReport | None, folder: Path | None = None) -> list[str]:
    """Say how much better than the defaults the study's configuration is, and how sure that is.

    Args:
        study: A loaded study.
        confirm: What retraining with several seeds found, if it was done.
        folder: Of the study, for the command that confirms it.
    """
    best = best_trial(study)
    if best is None:
        return ["No complete trial meets the constraints yet: nothing can be said."]
    searched = _in_search(study, best, confirm, folder)
    if confirm is None:
        return searched
    over_seeds = _over_seeds(confirm, best)
    if not _is_among(confirm, best):
        first = f"Trial {best.number}, now the best, is not confirmed: {_how_to_confirm(study, folder)}."
        over_seeds = [
            first,
            f"An earlier confirmation was of {_confirmed_names(confirm)}: {over_seeds[0]}",
            *over_seeds[1:],
        ]
    return [*over_seeds, f"In the search, with one training each: {searched[0]}", *searched[1:]]


def _is_among(confirm: ConfirmReport, best: FrozenTrial) -> bool:
    """Whether a trial's parameters, or those of one that equals it, were trained with several seeds."""
    return any(row.trial == best.number or row.parameters == best.params for row in confirm.configurations)


def _confirmed_names(confirm: ConfirmReport) -> str:
    numbers = sorted(row.trial for row in confirm.configurations if row.trial is not None and not row.is_baseline)
    if not numbers:
        return "the baseline alone"
    return f"trial{'s' if len(numbers) > 1 else ''} {' and '.join(map(str, numbers))}"


def _how_to_confirm(study: optuna.Study, folder: Path | None) -> str:
    """The command, and what it does; a text for others does not name the folder."""
    named_folder = "FOLDER" if folder is None else typed_path(folder)
    whose = ", with the folder of the study," if folder is None else ""
    module = "" if study.user_attrs.get(STAGE, "meshhead") in STAGES else " --stage-module FILE"
    return f"`{COMMAND} confirm {named_folder}{module}`{whose} measures it"


def _in_search(study: optuna.Study, best: FrozenTrial, confirm: ConfirmReport | None, folder: Path | None) -> list[str]:
    """What one training of each says, and what chance alone would."""
    first = baseline_trial(study)
    improvement = gain(study)
    metric = metric_names(study)[0]
    value = f"{best.values[0]:.4g}"
    named = "the baseline (the run configuration"
    if first is None:
        return [
            f"Trial {best.number} is best ({metric} {value}). The baseline (the run configuration) has no value, so no "
            "improvement over it was measured."
        ]
    base = f"{named}, trial {first.number})"
    if improvement is None:
        return [
            f"No gain is claimed: {base} does not meet the constraints ({metric} {first.values[0]:.4g}). Trial {best.number} "
            f"is the best of those that do ({metric} {value})."
        ]
    if best.number == first.number:
        return [
            f"Not better: the best trial is the baseline itself (the run configuration, trial {first.number}), {metric} {value}."
        ]
    if improvement == 0:
        return [f"No difference: trial {best.number} reached the same {metric} as {base}, {value}."]
    relative = f" ({improvement / abs(first.values[0]):.1%})" if first.values[0] else ""
    ahead = (
        f"trial {best.number} is ahead by {improvement:.4g}{relative} in {metric}: it reached {value}, {base} "
        f"{first.values[0]:.4g}."
    )
    others = len(study.get_trials(deepcopy=False, states=FINISHED)) - 1
    chance = chance_alone(others, None if confirm is None else confirm.noise)
    if confirm is not None:
        return [f"{ahead} {chance}."]
    command = f"{_how_to_confirm(study, folder)}: it trains both again with several seeds."
    return [f"Not confirmed, one training each: {ahead}", f"{chance}. {command}"]


def _over_seeds(confirm: ConfirmReport, best: FrozenTrial) -> list[str]:
    said = list(confirm.sentences)
    leader = confirm.best
    order = [row.trial for row in confirm.configurations if row.mean is not None]  # best first, the baseline among them
    if leader is not None and best.number in order and order.index(leader.trial) < order.index(best.number):
        said.append(
            f"Over seeds trial {leader.trial} is ahead of trial {best.number}, the best of the search, whose values "
            "`best.yaml` holds."
        )
    return said


def span(space: BaseDistribution) -> str:
    """What was searched of a parameter."""
    if isinstance(space, CategoricalDistribution):
        return ", ".join(map(str, space.choices))
    assert isinstance(space, FloatDistribution | IntDistribution)
    return f"{space.low:g} to {space.high:g}{' (log)' if space.log else ''}"


def warnings_of(study: optuna.Study, confirm: ConfirmReport | None) -> list[str]:
    """What limits the answer beyond what it says itself, one sentence each."""
    best = best_trial(study)
    said = []
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if best is not None:
        said += [f"The best value lies on the border of its range: {border}." for border in borders(study, best)]
    if all_pruned(study):
        said.append("All trials after the first pruned one were pruned as well.")
    missed = sum(not is_feasible(trial) for trial in complete)
    if missed:
        said.append(f"{missed} of {len(complete)} complete trials do not meet the constraints.")
    if confirm is not None:
        said += confirm.warnings()
    return said


def all_pruned(study: optuna.Study) -> bool:
    """Tell whether the pruner let nothing through any more, from its first pruned trial on."""
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    states = [trial.state for trial in finished]
    if TrialState.PRUNED not in states:
        return False
    later = states[states.index(TrialState.PRUNED) :]
    return TrialState.COMPLETE not in later and (len(later) >= MANY_PRUNED or len(later) == len(states))


def parameter_rows(study: optuna.Study, confirm: ConfirmReport | None) -> list[dict[str, Any]]:
    """The best trial's parameters beside those that won over seeds and the baseline's, with the ranges searched."""
    best = best_trial(study)
    first = baseline_trial(study)
    if best is None:
        return []
    columns: dict[str, Mapping[str, Any]] = {f"trial {best.number}, best of the search": best.params}
    leader = confirm.best if confirm else None
    if confirm is not None and leader is not None and leader.trial != best.number:
        ahead = "best over seeds" if confirm.configurations[0] is leader else "best over seeds but for the baseline"
        columns[f"trial {leader.trial}, {ahead}"] = leader.parameters
    if first is not None and first.number != best.number:
        columns["baseline"] = first.params
    spaces = {name: space for trial in (first, best) if trial for name, space in trial.distributions.items()}
    return [
        {"parameter": name, **{column: given.get(name) for column, given in columns.items()}, "searched": span(space)}
        for name, space in spaces.items()
    ]


def diagnostics_of(study: optuna.Study, usage: ResourceUsage) -> list[dict[str, Any]]:
    """The usual problems that were seen, with what to change."""
    trials = study.get_trials(deepcopy=False)
    best = best_trial(study)
    finished = [trial for trial in trials if trial.state in FINISHED]
    rows = []
    memory = [t.number for t in trials if is_out_of_memory_reason(_reason(t))]
    if memory:
        what = f"out of memory in {counted(len(memory), 'trial')} ({_numbers(memory)})"
        rows.append({"problem": what, "what to change": remedy("out of memory")})
    if all_pruned(study):
        what = "every trial after the first pruned one was pruned"
        advice = "a pruner that waits longer (median with n_startup_trials and n_warmup_steps; sha with min_resource)"
        rows.append({"problem": what, "what to change": advice})
    pruned = sum(trial.state == TrialState.PRUNED for trial in finished)
    slow = stop_kind(study.user_attrs) == StopKind.LIMIT
    single = len(study.directions) == 1
    if single and (slow or (len(finished) >= ENOUGH_FINISHED and usage.saved_share < LITTLE_SAVED)):
        saved = f"pruning saved {usage.saved_share:.0%} of the epochs ({pruned} of {len(finished)} trials pruned)"
        what = f"too slow: {study.user_attrs[STOP_REASON]}; {saved}" if slow else saved
        rows.append({"problem": what, "what to change": "a more aggressive pruner (sha, percentile), or fewer epochs"})
    improvement = gain(study)
    if len(finished) >= ENOUGH_FINISHED and best is not None and improvement is not None and improvement <= 0:
        ends = borders(study, best)
        where = f", first where the best value lies on a border: {'; '.join(ends)}" if ends else ""
        what = f"no improvement over the baseline in {len(finished)} trials"
        rows.append({"problem": what, "what to change": f"widen the search space{where}"})
    resumed = successors(trials)  # interruptions are no failures
    others = [t for t in trials if state_name(t, resumed) == TrialState.FAIL.name and t.number not in memory]
    reasons = sorted({str(t.user_attrs.get(REASON, "unknown")) for t in others})
    rows += [
        {
            "problem": f"{sum(t.user_attrs.get(REASON, 'unknown') == why for t in others)} failed: {why}",
            "what to change": remedy(why),
        }
        for why in reasons
    ]
    return rows


def _reason(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get(REASON, "")) if trial.state == TrialState.FAIL else ""


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:5])
    return f"{shown}, ..." if len(numbers) > 5 else shown
