"""Shared by tests: search space."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gazegaussian.fields import explain
from helpers.search.space import StudyFile


def study_file(space, **more) -> StudyFile:
    return StudyFile.model_validate({"study_name": "toy", "trials": 6, "search_space": space, **more})


LR = {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}


RENDERER = {"type": "categorical", "choices": ["dit", "conv"]}


# conv needs no DiT; a deep DiT may have few heads only
CONDITIONAL = {
    "x": {
        "dit_num_heads": {"type": "categorical", "choices": [4, 8], "when": {"dit_depth": [6, 8]}},
        "dit_depth": {"type": "int", "min": 4, "max": 8, "step": 2, "when": {"renderer": "dit"}},
        "renderer": RENDERER,
    }
}


def rejection(**content) -> str:
    with pytest.raises(ValidationError) as caught:
        study_file(content.pop("space", {"x": {"lr": LR}}), **content)
    message = explain(caught.value, StudyFile)
    assert "\n" not in message
    return message
