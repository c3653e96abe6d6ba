"""The audit of a study on a machine of a Ray cluster: the one where its master runs may have no GPU and no data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers.analysis.audit import audit_study
from helpers.study.spec import StudyRequest
from helpers.study.workers.ray_pool import connect, levels_here, placement, prepare


def audit_on_ray(request: StudyRequest) -> None:
    """Check and audit a study on the kind of machine that its trials run on.

    Raises:
        UserError: As `audit_study` and the request's check.
    """
    assert request.crew is not None
    assert request.crew.ray is not None
    ray = connect(request.crew.ray)
    options, _ = placement(ray.nodes(), request.crew)
    asked = replace(request, out=request.out.resolve(), crew=None)
    call = ray.remote(_audit).options(**options, max_retries=0)
    try:
        ray.get(call.remote(asked, Path.cwd(), levels_here()))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


def _audit(request: StudyRequest, folder: Path, levels: tuple[int, int]) -> None:
    prepare(folder, levels)
    request.check(request.config)
    audit_study(request).raise_if_failed()
