"""Is the winner better than the defaults, or lucky? The best configurations and the baseline, trained again with seeds.

All configurations get the same training seeds, so that their values are compared in pairs, and none of them is the
study's own seed: a winner was chosen for its value there, which is therefore too good.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import TrialState

from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError
from helpers.files import write_json
from helpers.ownership import BASELINE
from helpers.reruns import Run, Source, open_source, rerun, trial_config
from helpers.results import is_feasible, merit, metric_names, signs

if TYPE_CHECKING:
    from helpers.isolation import Train
    from helpers.request import StudyRequest

logger = logging.getLogger(__name__)

CONFIRM_FILE, CONFIRM_FOLDER = "confirm.json", "confirm"
RESAMPLES = 10_000
ENOUGH_SEEDS = 5  # the bootstrap of two differences is their range


@dataclass(frozen=True)
class Confirmed:
    """One configuration over all seeds; differences are in favour of it when positive, and taken seed by seed."""

    name: str
    trial: int | None
    is_baseline: bool
    parameters: dict[str, Any]
    values: tuple[float | None, ...]  # per seed; None failed
    mean: float | None
    std: float | None  # sample standard deviation
    improvement: float | None  # mean difference to the baseline, in the metric's unit
    improvement_low: float | None  # 95% bootstrap interval
    improvement_high: float | None
    improvement_std: float | None  # of the differences
    wins: int  # seeds in which it was better
    pairs: int  # seeds that both finished
    probability: float | None  # of being better than the baseline; None below two pairs


@dataclass(frozen=True)
class ConfirmReport:
    """What was found, best mean first."""

    metric: str
    direction: str
    seeds: tuple[int, ...]
    configurations: tuple[Confirmed, ...]

    @property
    def baseline(self) -> Confirmed:
        """The values of the run configuration."""
        return next(row for row in self.configurations if row.is_baseline)

    @property
    def best(self) -> Confirmed | None:
        """Best mean among the others than the baseline; None when none of them finished."""
        return next((row for row in self.configurations if not row.is_baseline and row.mean is not None), None)

    @property
    def statement(self) -> str:
        """How much better, and how sure: one or two sentences."""
        best = self.best
        if best is None:
            return "No other configuration than the baseline was trained to the end, so nothing can be confirmed."
        if best.improvement is None or best.probability is None:
            return f"{best.name} and the baseline share fewer than two finished seeds: nothing can be said about noise."
        relative = f" ({best.improvement / abs(self.baseline.mean):.1%})" if self.baseline.mean else ""
        chance = 2.0**-best.pairs
        others = sum(not row.is_baseline for row in self.configurations)
        chosen = f" It has the best mean of {others}, which flatters it a little." if others > 1 else ""
        verdict = "better" if best.improvement > 0 else "no better"
        return (
            f"{best.name}: {self.metric} {verdict} than the baseline's: by {best.improvement:.4g}{relative}, 95% interval "
            f"{best.improvement_low:.4g} to {best.improvement_high:.4g}; probability of being better "
            f"{share(best.probability)} (paired bootstrap over {best.pairs} seeds). It won in {best.wins} of {best.pairs}; "
            f"chance alone wins all {best.pairs} in {chance:.1%} of cases.{chosen}{few_seeds(best.pairs)}"
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row per configuration, for tables."""
        return [
            {
                "configuration": row.name,
                f"mean {self.metric}": row.mean,
                "standard deviation": row.std,
                "finished": f"{sum(value is not None for value in row.values)} of {len(self.seeds)}",
                "improvement": None if row.is_baseline else row.improvement,
                "95% low": None if row.is_baseline else row.improvement_low,
                "95% high": None if row.is_baseline else row.improvement_high,
                "seeds won": "" if row.is_baseline else f"{row.wins} of {row.pairs}",
                "probability better": None if row.is_baseline or row.probability is None else share(row.probability),
            }
            for row in self.configurations
        ]


def confirm_study(
    source: StudyRequest | Path | str,
    top: int = 3,
    seeds: int = 5,
    train: Train | None = None,
    check: Callable[[RunConfig], None] | None = None,
    storage: str | None = None,
) -> ConfirmReport:
    """Retrain the best complete trials and the baseline with several training seeds, without a pruner.

    Finished trainings under `<study>/confirm/` are read, not repeated; `confirm.json` holds the report.

    Args:
        source: The request that ran the study, or its folder.
        top: How many of the best complete trials.
        seeds: Trainings of each; more seeds later add to the ones that are there.
        train: As in `StudyRequest`; default the request's, else the real training.
        check: As in `StudyRequest`.
        storage: URL, as in `open_source`.

    Raises:
        ConfigError: No such study, no complete trial, or counts below one.
        UserError: Data, checkpoint or device cannot be used.
    """
    if top < 1 or seeds < 1:
        raise ConfigError(f"confirm needs at least one trial and one seed, not top={top} and seeds={seeds}.")
    opened = open_source(source, train, check, storage)
    chosen = _configurations(opened, top)
    first = opened.config.training.seed + 1
    numbers = tuple(range(first, first + seeds))
    runs: dict[str, list[Run]] = {name: [] for name in chosen}
    for count, seed in enumerate(numbers, 1):  # seed by seed: an interrupted confirmation is balanced
        for name, (_, parameters) in chosen.items():
            logger.info("confirm: %s, seed %d of %d", name, count, seeds)
            config = trial_config(opened.config, parameters, seed)
            runs[name].append(rerun(opened, config, opened.folder / CONFIRM_FOLDER / f"{name}_seed{seed}"))
    values = {name: tuple(run.value for run in found) for name, found in runs.items()}
    sign = signs(opened.study)[0]
    rows = [_judge(name, *chosen[name], values[name], values["baseline"], sign) for name in chosen]
    rows.sort(key=lambda row: (row.mean is None, sign * (row.mean or 0.0)))
    direction = "minimize" if sign == 1 else "maximize"
    report = ConfirmReport(metric_names(opened.study)[0], direction, numbers, tuple(rows))
    write_json(opened.folder / CONFIRM_FILE, {**asdict(report), "statement": report.statement})
    return report


def _configurations(source: Source, top: int) -> dict[str, tuple[int | None, dict[str, Any]]]:
    """The k best complete trials and the baseline by name, each configuration once."""
    trials = source.study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state == TrialState.COMPLETE and is_feasible(t)]
    if not complete:
        raise ConfigError(f"Study {source.study.study_name!r} has no complete trial to confirm. Run more trials first.")
    complete.sort(key=lambda t: (merit(source.study, t), t.number))
    marked = next((t for t in trials if t.user_attrs.get(BASELINE) and t.params), None)
    defaults = trial_config(source.config, marked.params if marked else {})
    chosen: dict[str, tuple[int | None, dict[str, Any]]] = {}
    seen = [defaults]
    for trial in complete:
        config = trial_config(source.config, trial.params)
        if config not in seen and len(chosen) < top:  # the baseline is there anyway
            seen.append(config)
            chosen[f"trial_{trial.number:04d}"] = (trial.number, dict(trial.params))
    return {**chosen, "baseline": (marked.number if marked else None, dict(marked.params) if marked else {})}


def _judge(
    name: str,
    trial: int | None,
    parameters: dict[str, Any],
    values: Sequence[float | None],
    baseline: Sequence[float | None],
    sign: int,
) -> Confirmed:
    finished = [value for value in values if value is not None]
    differences = [
        sign * (theirs - own)
        for own, theirs in zip(values, baseline, strict=True)
        if own is not None and theirs is not None
    ]
    probability, low, high = bootstrap(differences) if len(differences) >= 2 else (None, None, None)
    return Confirmed(
        name=name,
        trial=trial,
        is_baseline=name == "baseline",
        parameters=parameters,
        values=tuple(values),
        mean=statistics.fmean(finished) if finished else None,
        std=statistics.stdev(finished) if len(finished) >= 2 else None,
        improvement=statistics.fmean(differences) if differences else None,
        improvement_low=low,
        improvement_high=high,
        improvement_std=statistics.stdev(differences) if len(differences) >= 2 else None,
        wins=sum(difference > 0 for difference in differences),
        pairs=len(differences),
        probability=probability,
    )


def bootstrap(differences: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float, float]:
    """Resample paired differences.

    Args:
        differences: One per seed, positive when the configuration was better.
        seed: Of the resampling.
        resamples: How many.

    Returns:
        Share of resamples whose mean is positive (a mean of zero counts half), and the 95% interval of the mean.
    """
    values = np.asarray(differences, dtype=float)
    picks = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    means = values[picks].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float((means > 0).mean() + 0.5 * (means == 0).mean()), float(low), float(high)


def few_seeds(pairs: int) -> str:
    """Warn of intervals over few seeds: those of two only span both differences."""
    if pairs >= ENOUGH_SEEDS:
        return ""
    return f" Of {pairs} seeds interval and probability promise far more than they keep: take {ENOUGH_SEEDS}."


def share(probability: float) -> str:
    """Write a share of resamples; all of them are no certainty."""
    return "> 0.999" if probability > 0.999 else "< 0.001" if probability < 0.001 else f"{probability:.3f}"


def load_confirm(folder: Path) -> ConfirmReport | None:
    """Read `confirm.json` of a study's folder; None when there is none."""
    path = Path(folder) / CONFIRM_FILE
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = tuple(Confirmed(**{**row, "values": tuple(row["values"])}) for row in content["configurations"])
    return ConfirmReport(content["metric"], content["direction"], tuple(content["seeds"]), rows)
