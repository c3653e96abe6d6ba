"""What the dashboard's pages show of a study that is only read: no button that would be rejected, no importances from a few trials.

optuna-dashboard has no switch for either, so its answers are changed on their way: a style sheet goes into its page, and the
importances are this program's own, the same as in its figures.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import optuna
from optuna.storages import BaseStorage

from helpers.analysis.importance import FEW_TRIALS, Importance, parameter_importances

logger = logging.getLogger(__name__)

# What stands behind them is rejected with 403 all the same; a later optuna-dashboard with other names only shows them again.
WRITING = (
    '[aria-label="rename study"]',
    '[aria-label="delete study"]',
    '[aria-label="delete artifact"]',
    'button:has([data-testid="AddBoxIcon"])',  # create a study
    'button:has([data-testid="StopCircleIcon"])',  # fail a running trial
    'button:has([data-testid="EditIcon"])',  # write a note
    '.MuiCard-root:has([data-testid="UploadFileIcon"])',  # upload an artifact
)
STYLE = f"""<style>
{", ".join(WRITING)} {{ display: none !important; }}
#graph-hyperparameter-importances:empty::after {{
  content: "Importances need {FEW_TRIALS} trials that can be compared, and trials that tell which parameters matter.";
  color: gray;
}}
</style>
"""
IMPORTANCES = re.compile(r"/api/studies/(\d+)/param_importances/?")
_PARTIAL = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE")  # answers without the whole page


def fitted_to_reading(app: WSGIApplication, storage: BaseStorage) -> WSGIApplication:
    """Change what optuna-dashboard answers about its page and the importances."""

    def answered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        match = IMPORTANCES.fullmatch(path)
        if match:
            try:
                body = json.dumps({"param_importances": importances(storage, int(match[1]))}).encode()
            except KeyError:  # no such study: the dashboard has its own answer
                return app(environ, start_response)
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
        if path.split("/")[1:2] == ["dashboard"]:
            return styled(app, environ, start_response)
        return app(environ, start_response)

    return answered


def importances(storage: BaseStorage, study_id: int) -> list[list[dict[str, Any]]]:
    """Importances per objective as the page draws them: bars without intervals, and only where the trials tell.

    Returns:
        Rows per objective; an empty list, for which the page draws nothing, when no objective has any.

    Raises:
        KeyError: There is no such study.
    """
    study = optuna.load_study(study_name=storage.get_study_name_from_id(study_id), storage=storage)
    per_objective = [parameter_importances(study, objective=i) for i in range(len(study.directions))]
    kinds = {name: type(kind).__name__ for trial in study.trials for name, kind in trial.distributions.items()}

    def drawn(row: Importance) -> dict[str, Any]:
        return {"name": row.parameter, "importance": row.value, "distribution": kinds[row.parameter]}

    drawable = [[drawn(row) for row in one.parameters] if one.telling else [] for one in per_objective]
    return drawable if any(drawable) else []


def styled(app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the page and `STYLE` in its head, which its Content-Security-Policy allows."""
    answer: list[Any] = []

    def keep(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        answer[:] = [status, headers]
        return None

    body = app({name: value for name, value in environ.items() if name not in _PARTIAL}, keep)
    try:
        page = b"".join(body).replace(b"</head>", STYLE.encode() + b"</head>", 1)
    finally:
        if hasattr(body, "close"):
            body.close()
    status, headers = answer
    kept = [(name, value) for name, value in headers if name.lower() in ("content-type", "content-security-policy")]
    start_response(status, [*kept, ("Content-Length", str(len(page)))])
    return [page]
