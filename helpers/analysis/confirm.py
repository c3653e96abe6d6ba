"""Is the best trial better than the defaults, or lucky? The best configurations and the baseline, trained again with seeds.

All configurations get the same training seeds, so that their values are compared in pairs, and none of them is the
study's own seed: a best trial was chosen for its value there, which is therefore too good. Every best checkpoint is measured
on test people, whom neither the best epoch nor the best trial was chosen by. `docs/statistics.md` has the estimators.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from gazegaussian.config import GazeGaussianRun, RunConfig
from gazegaussian.errors import ConfigError
from helpers.analysis.confirm_plan import Plan, planned, record_look
from helpers.analysis.confirm_report import CONFIRM_FILE, ConfirmReport, load_confirm, stored_report
from helpers.analysis.confirmed import BASELINE_ROW, Confirmed, confirmed
from helpers.analysis.mesh_head_seeds import mesh_head_of_seed, stage_one
from helpers.analysis.retrain import Run, Source, finished_run, missed_limits, open_source, rerun, trial_config
from helpers.analysis.test_people import TestPeople, find_test_people, has_values, mean_metrics, measured, person_values
from helpers.results.attributes import BASELINE
from helpers.results.ranking import is_feasible, metric_names, objective_key, signs
from helpers.utils.files import write_json

if TYPE_CHECKING:
    from helpers.study.isolation import Train
    from helpers.study.spec import StudySpec

__all__ = ["ConfirmReport", "Confirmed", "TestPeople", "confirm_study", "load_confirm"]

logger = logging.getLogger(__name__)

CONFIRM_FOLDER = "confirm"


def confirm_study(
    source: StudySpec | Path | str,
    top: int = 3,
    seeds: int = 5,
    train: Train | None = None,
    check: Callable[[RunConfig], None] | None = None,
    storage: str | None = None,
    measure: TestPeople | None = None,
    vary_meshhead: bool = False,
) -> ConfirmReport:
    """Retrain the best complete trials and the baseline with several training seeds, without a pruner.

    Seeds and candidates are recorded before the first training; changing them later counts as a further look at the
    results and widens the intervals. Finished trainings under `<study>/confirm/` are read, not repeated; `confirm.json`
    holds the report.

    Args:
        source: The spec that ran the study, or its folder.
        top: How many of the best complete trials.
        seeds: Trainings of each; more seeds later add to the ones that are there.
        train: As in `StudySpec`; default the spec's, else the real training.
        check: As in `StudySpec`.
        storage: URL, as in `open_source`.
        measure: Who is measured and how; default: the test people of the data, for the project's own stages.
        vary_meshhead: Of a study of stage two: train its MeshHead with every seed first, so that the interval holds the
            noise of stage one, too.

    Raises:
        ConfigError: No such study, no complete trial, or counts below one.
        UserError: Data, checkpoint or device cannot be used.

    >>> found = helpers.confirm_study(Path("optuna_results/digits"), top=1, seeds=2)
    >>> found.metric, found.seeds
    ('val_loss', (1, 2))
    """
    if top < 1 or seeds < 1:
        raise ConfigError(f"confirm needs at least one trial and one seed, not top={top} and seeds={seeds}.")
    opened = open_source(source, train, check, storage)
    chosen = _configurations(opened, top)
    first = stage_one(opened.config) if vary_meshhead else None
    test = measure or find_test_people(opened.config, opened.train)
    names = [name for name in chosen if name != BASELINE_ROW]
    folder = opened.folder / CONFIRM_FOLDER
    plan = record_look(folder, planned(seeds, names, vary_meshhead, test.people), stored_report(opened.folder))
    begin = opened.config.training.seed + 1
    numbers = tuple(range(begin, begin + seeds))
    trained: dict[str, list[_Trained]] = {name: [] for name in chosen}
    for count, seed in enumerate(numbers, 1):  # seed by seed: an interrupted confirmation is balanced
        start = None if first is None else mesh_head_of_seed(opened, first, seed, folder)
        for name, (_, parameters) in chosen.items():
            said = f"confirm: {name}, seed {count} of {seeds}"
            trained[name].append(_train(opened, test, name, parameters, seed, start, vary_meshhead, said))
    report = _report(opened, chosen, trained, numbers, plan, test, vary_meshhead)
    write_json(opened.folder / CONFIRM_FILE, {**asdict(report), "statement": report.statement})
    return report


@dataclass(frozen=True)
class _Trained:
    """One training and what the test people say of it."""

    run: Run
    people: dict[str, dict[str, float]]


def _train(
    source: Source,
    test: TestPeople,
    name: str,
    parameters: Mapping[str, Any],
    seed: int,
    mesh_head: Path | None,
    vary_meshhead: bool,
    said: str,
) -> _Trained:
    """Train one configuration with one seed and measure it; the log says which."""
    folder = source.folder / CONFIRM_FOLDER / f"{name}_seed{seed}{'_meshhead' if vary_meshhead else ''}"
    config = trial_config(source.config, parameters, seed)
    if vary_meshhead:
        if mesh_head is None:
            logger.info("%s", said)
            return _Trained(Run(None, "the MeshHead of this seed failed"), {})
        assert isinstance(config, GazeGaussianRun)
        config = config.model_copy(update={"meshhead_checkpoint": mesh_head})
    logger.info("%s%s", said, "" if finished_run(config, folder) is None else " (already trained)")
    run = rerun(source, config, folder)
    people = {} if run.value is None else measured(config, folder, folder / "best.pt", test)
    return _Trained(run, people)


def _report(
    source: Source,
    chosen: Mapping[str, tuple[int | None, dict[str, Any]]],
    trained: Mapping[str, Sequence[_Trained]],
    seeds: tuple[int, ...],
    plan: Plan,
    test: TestPeople,
    mesh_heads: bool,
) -> ConfirmReport:
    """Put the trainings together; values are of the test people where every finished training was measured on them."""
    metric = metric_names(source.study)[0]
    sign = signs(source.study)[0]
    finished = [one for trainings in trained.values() for one in trainings if one.run.value is not None]
    everyone = bool(finished) and all(has_values(one.people, metric) for one in finished)
    rows = []
    for name, (trial, parameters) in chosen.items():
        trainings = trained[name]
        people = tuple(person_values(one.people, metric) if everyone else None for one in trainings)
        seen = tuple(one.run.value for one in trainings)
        values = tuple(None if own is None else statistics.fmean(own) for own in people) if everyone else seen
        measures = [{**one.run.metrics, **(mean_metrics(one.people) if everyone else {})} for one in trainings]
        missed = tuple(missed_limits(source.limits, values_of_one) for values_of_one in measures)
        rows.append(confirmed(name, trial, parameters, values, seen, people if everyone else (), missed))
    reason = test.reason or (
        "a finished training has no value for every test person" if test.people else "none were given"
    )
    return ConfirmReport(
        metric=metric,
        direction="minimize" if sign == 1 else "maximize",
        seeds=seeds,
        configurations=tuple(rows),
        people=test.people if everyone else (),
        no_people="" if everyone else reason,
        compared=plan.candidates,
        looks=len(plan.looks),
        mesh_heads=mesh_heads,
    )


def _configurations(source: Source, top: int) -> dict[str, tuple[int | None, dict[str, Any]]]:
    """The k best complete trials and the baseline by name, each configuration once."""
    trials = source.study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state == TrialState.COMPLETE and is_feasible(t)]
    if not complete:
        raise ConfigError(f"Study {source.study.study_name!r} has no complete trial to confirm. Run more trials first.")
    complete.sort(key=lambda t: (objective_key(source.study, t), t.number))
    marked = next((t for t in trials if t.user_attrs.get(BASELINE) and t.params), None)
    defaults = trial_config(source.config, marked.params if marked else {})
    chosen: dict[str, tuple[int | None, dict[str, Any]]] = {}
    seen = [defaults]
    for trial in complete:
        config = trial_config(source.config, trial.params)
        if config not in seen and len(chosen) < top:  # the baseline is there anyway
            seen.append(config)
            chosen[f"trial_{trial.number:04d}"] = (trial.number, dict(trial.params))
    return {**chosen, BASELINE_ROW: (marked.number if marked else None, dict(marked.params) if marked else {})}
