"""How often is the audit right? Plants known faults and good parameters and counts what it says of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.calibration.planted_cases import CASES, Case
from benchmarks.calibration.planted_stage import CHANCE, PlantedStage
from gazegaussian.config import GazeGaussianRun
from helpers.analysis.audit import audit_study
from helpers.analysis.audit_checks import AuditRow
from helpers.search.space import StudyFile
from helpers.study.spec import StudySpec

KINDS = {"unread": "does not reach training", "luck": "random numbers", "bends": "changes the metric"}


@dataclass(frozen=True)
class Outcome:
    """What the audit said of one case."""

    case: Case
    row: AuditRow

    @property
    def right(self) -> bool:
        """Tell whether a good parameter may be searched, or a fault is rejected for what it is."""
        if self.case.truth == "good":
            return self.row.ok and self.row.word == self.case.word
        return not self.row.ok and KINDS[self.case.truth] in self.row.verdict


def audited(case: Case, folder: Path) -> Outcome:
    """Audit the study of a case."""
    space = {case.name: case.space, **case.others}
    study = StudyFile.model_validate({"study_name": "planted", "trials": 6, "search_space": {"all": space}})
    defaults: dict[str, dict[str, Any]] = {"optim": {"lr": 1e-3}, "training": {"device": "cpu", "batch_size": 2}}
    sections = {name: {**defaults.get(name, {}), **case.config.get(name, {})} for name in {**defaults, **case.config}}
    run = GazeGaussianRun.model_validate(sections)
    CHANCE.manual_seed(0)
    spec = StudySpec(run, study, folder, check=lambda config: None)
    report = audit_study(spec, partial(PlantedStage, plant=case.plant), use_cache=False)
    return Outcome(case, next(row for row in report.parameters if row.parameter == case.name))


def simulate(cases: Sequence[Case] = tuple(CASES)) -> list[Outcome]:
    """Audit all cases; seconds on one core."""
    with tempfile.TemporaryDirectory() as folder:
        return [audited(case, Path(folder)) for case in cases]


def summary(outcomes: Sequence[Outcome]) -> str:
    """Count and name what went wrong, as text."""
    faults = [outcome for outcome in outcomes if outcome.case.truth != "good"]
    good = [outcome for outcome in outcomes if outcome.case.truth == "good"]
    missed = sum(outcome.row.ok for outcome in faults)
    alarms = sum(not outcome.row.ok for outcome in good)
    lines = [
        f"faults: {len(faults)}, rejected {len(faults) - missed}, missed {missed}",
        f"good parameters: {len(good)}, false alarms {alarms}",
    ]
    lines += [
        f"  {outcome.case.what} ({outcome.case.truth}): {outcome.row.word}: {outcome.row.verdict}"
        for outcome in outcomes
        if not outcome.right
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the counts."""
    torch.set_num_threads(1)
    started = time.process_time()
    print(summary(simulate()))
    print(f"{time.process_time() - started:.0f} s of CPU time")


if __name__ == "__main__":
    main()
