"""The parameter audit of a study: every searched parameter must reach training, and none may change the metric.

`helpers.analysis.audit_checks` says how one parameter is judged; here are the report and its cache.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

import gazegaussian
from gazegaussian.build import build_stage
from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError
from gazegaussian.stages import stage_spec
from gazegaussian.utils.plain_files import read_plain
from helpers.analysis.audit_checks import Auditor, AuditRow, Changes, as_audited
from helpers.analysis.audit_values import shown
from helpers.analysis.short_training import Build
from helpers.search.space import StudyFile
from helpers.search.trial_names import is_smoke_test
from helpers.storage.location import require_plain
from helpers.study.trial import release_memory
from helpers.utils.files import log_output_dir, write_json

if TYPE_CHECKING:
    from helpers.study.spec import StudySpec

logger = logging.getLogger(__name__)

RULES = Path(__file__).parent  # the folder of the checks, whose text decides whether a passed audit still counts

AUDIT_FILE = "audit.json"
# Of images and steps: a smoke test differs in them alone from the study that it stands for.
AMOUNTS = frozenset(("people", "frames", "cameras", "max_train_images", "max_val_images", "warm_start_steps", "epochs"))


@dataclass(frozen=True)
class AuditReport:
    """What was found about all searched parameters."""

    parameters: tuple[AuditRow, ...]
    seconds: float
    cached: bool = False  # read from the study's folder, nothing was trained
    GIVES_WAY: ClassVar = ("values", "seconds")  # columns that narrow tables leave out

    @property
    def ok(self) -> bool:
        """Tell whether a study may be paid for."""
        return all(row.ok for row in self.parameters)

    def rows(self) -> list[dict[str, Any]]:
        """One row per parameter, for tables."""
        answers: dict[Changes, str] = {True: "yes", False: "no", None: "-", "shape": "shape"}
        return [
            {
                "parameter": row.parameter,
                "values": " / ".join(shown(value) for value in row.values),
                "reaches training": answers[row.reaches_training],
                "changes the metric": answers[row.changes_metric],
                "seconds": round(row.seconds, 1),
                "verdict": row.word,
                "why": explained(row),
            }
            for row in self.parameters
        ]

    def raise_if_failed(self) -> None:
        """Reject a study whose answer could not be trusted.

        Raises:
            ConfigError: Naming each culprit and what it does.
        """
        bad = [f"{row.parameter} {row.verdict}" for row in self.parameters if not row.ok]
        if bad:
            raise ConfigError(
                f"The audit rejects the search space: {'; '.join(bad)}. Take {'it' if len(bad) == 1 else 'them'} out of "
                "the search space or repair what should read it (--no-audit skips this check)."
            )


def explained(row: AuditRow) -> str:
    """Say what was found about a parameter that is not simply ok, and what to do about it."""
    if row.word == "ok":
        return "" if row.verdict == row.word else row.verdict
    if row.changes_metric is True:
        remedy = "take it out of the search space"
    elif row.reaches_training is False:
        remedy = "widen its range, take it out, or repair what should read it"
    elif row.word == "weak":
        remedy = "widen its range or leave it at its default"
    else:
        return row.verdict
    return f"{row.verdict}; to do: {remedy}"


def require_audit(spec: StudySpec) -> None:
    """Audit a study before it runs, on a machine of the Ray cluster where its trials run on one.

    The machine that supervises a cluster may have neither GPU nor data.

    Raises:
        ConfigError: Naming each parameter that the study must not search.
        UserError: What that machine cannot use.
    """
    if spec.pool is None or spec.pool.ray is None:
        audit_study(spec).raise_if_failed()
        return
    from helpers.study.workers.ray_pool import LOCAL, connect, levels_here, placement

    ray = connect(spec.pool.ray)
    asked = replace(spec, out=spec.out.resolve(), pool=None)
    if spec.pool.ray == LOCAL:
        _check_and_audit(asked)
        return
    options, _ = placement(ray.nodes(), spec.pool)
    call = ray.remote(_audit_remotely).options(**options, max_retries=0)
    try:
        ray.get(call.remote(asked, Path.cwd(), levels_here()))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


def _audit_remotely(spec: StudySpec, folder: Path, levels: tuple[int, int]) -> None:
    from helpers.study.workers.ray_pool import prepare

    prepare(folder, levels)
    _check_and_audit(spec)


def _check_and_audit(spec: StudySpec) -> None:
    spec.check(spec.config)
    audit_study(spec).raise_if_failed()


def audit_study(spec: StudySpec, build: Build | None = None, use_cache: bool = True) -> AuditReport:
    """Audit every searched parameter of a study: a few optimisation steps each.

    Args:
        spec: The study; its folder holds the report (`audit.json`) from the first parameter on, so that what has passed
            is not repeated, also after an interruption, until the space, the configuration or the code changes.
        build: Makes the stage that is to be tuned, by default that of the run configuration; the global seed is set before
            each call.
        use_cache: Take over what has passed.

    Raises:
        ConfigError: The run configuration rejects a value, or even its own training fails.
        UserError: Data or checkpoint cannot be used.

    >>> audit = helpers.audit_study(helpers.default_spec("digits", epochs=2, study_name="audited"))
    >>> audit.ok, audit.rows()[0]["parameter"], audit.rows()[0]["reaches training"]
    (True, 'width', 'yes')
    """
    require_plain(spec.folder)
    study = spec.study
    base = as_audited(spec.monitored())
    key = _key(study, base, build or build_stage)
    path = spec.folder / AUDIT_FILE
    space = _key(study, base, build or build_stage, amounts=False)
    home, (rows, spent) = _passed(spec, path, key, space) if use_cache else (path, ({}, 0.0))
    missing = [name for name in study.parameters if name not in rows]
    if not missing:
        where = "" if home == path else f" in study {home.parent.name}"
        logger.info("audit: already passed%s for this space, configuration and code", where)
        return AuditReport(tuple(rows[name] for name in study.parameters), spent, cached=True)
    if rows:
        logger.info("audit: resumed; already passed: %s", ", ".join(rows))
    log_output_dir(spec.out)
    started = time.monotonic()
    total = len(study.parameters)
    audit = Auditor(study, base, build or build_stage)
    with torch.random.fork_rng():  # a study after an audit is the study without one
        for number, name in enumerate(missing, len(rows) + 1):
            logger.info("audit %d/%d %s: training at several values", number, total, name)
            row = rows[name] = audit.parameter(name)
            word = row.verdict if row.verdict.startswith(row.word) else f"{row.word}: {row.verdict}"
            logger.info("audit %d/%d %s: %s (%.1f s)", number, total, name, word, row.seconds)
            report = AuditReport(tuple(rows.values()), spent + time.monotonic() - started)
            write_json(path, {"key": key, "space": space, **asdict(report), "ok": report.ok and len(rows) == total})
    del audit
    release_memory()  # of the GPU: the trials, in processes of their own, need all of it
    return replace(report, parameters=tuple(rows[name] for name in study.parameters))


def _passed(spec: StudySpec, path: Path, key: str, space: str) -> tuple[Path, tuple[dict[str, AuditRow], float]]:
    """What has passed before: here, or, for a smoke test, in a study beside it with the same space on more images.

    Returns:
        The file of that audit, and what `_read` reads there.
    """
    passed = _read(path, "key", key)
    if passed[0] or not is_smoke_test(spec.study.study_name):
        return path, passed
    others = ((other, _read(other, "space", space)) for other in sorted(path.parents[1].glob(f"*/{AUDIT_FILE}")))
    return max(others, key=lambda one: len(one[1][0]), default=(path, passed))


def _without(content: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A configuration without some fields of its sections."""
    return {
        section: {name: value for name, value in fields.items() if name not in names}
        if isinstance(fields, dict)
        else fields
        for section, fields in content.items()
    }


def _key(study: StudyFile, config: RunConfig, build: Build, amounts: bool = True) -> str:
    """Digest of everything that an audit's outcome depends on; without `AMOUNTS` of what a smoke test may take over."""
    content = config.model_dump_json() if amounts else json.dumps(_without(config.model_dump(mode="json"), AMOUNTS))
    digest = hashlib.sha256(f"{study.fingerprint()}\n{content}\n".encode())
    own = stage_spec(config.stage).source  # of a stage of this repository it is in the package anyway
    beside = [path for file in (own, *_source(build)) if file is not None and file.is_file() for path in _beside(file)]
    checks = [*sorted(RULES.glob("audit*.py")), *sorted(RULES.glob("short_training.py"))]
    for path in [*sorted(Path(gazegaussian.__file__).parent.rglob("*.py")), *checks, *beside]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _beside(file: Path) -> list[Path]:
    """What a file may import of its own: its whole package, or the modules and packages in its folder."""
    folder = file.resolve().parent
    if not (folder / "__init__.py").is_file():
        return sorted([*folder.glob("*.py"), *folder.glob("*/*.py")])
    while (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    return sorted(folder.rglob("*.py"))


def _source(build: Build) -> list[Path]:
    """File of a function or of its partial, method or class; none when it was typed into a notebook."""
    function = getattr(build, "func", build)
    named = function if inspect.isroutine(function) or inspect.isclass(function) else type(function)
    path = inspect.getsourcefile(named)
    return [Path(path)] if path and Path(path).is_file() else []


def _read(path: Path, name: str, key: str) -> tuple[dict[str, AuditRow], float]:
    """Read the parameters that passed an audit of the same `key` or `space`, and the seconds it took so far."""
    try:
        content: Mapping[str, Any] = json.loads(read_plain(path))
        if content[name] != key:
            return {}, 0.0
        rows = [AuditRow(**{**row, "values": tuple(row["values"])}) for row in content["parameters"]]
        return {row.parameter: row for row in rows if row.ok}, float(content["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}, 0.0
