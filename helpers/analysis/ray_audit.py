"""The audit of a study on a machine of a Ray cluster: the one where its supervisor runs may have no GPU and no data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers.analysis.audit import audit_study
from helpers.study.spec import StudySpec
from helpers.study.workers.ray_pool import connect, levels_here, placement, prepare


def audit_on_ray(spec: StudySpec) -> None:
    """Check and audit a study on the kind of machine that its trials run on.

    Raises:
        UserError: As `audit_study` and the spec's check.
    """
    assert spec.pool is not None
    assert spec.pool.ray is not None
    ray = connect(spec.pool.ray)
    options, _ = placement(ray.nodes(), spec.pool)
    asked = replace(spec, out=spec.out.resolve(), pool=None)
    call = ray.remote(_audit).options(**options, max_retries=0)
    try:
        ray.get(call.remote(asked, Path.cwd(), levels_here()))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


def _audit(spec: StudySpec, folder: Path, levels: tuple[int, int]) -> None:
    prepare(folder, levels)
    spec.check(spec.config)
    audit_study(spec).raise_if_failed()
