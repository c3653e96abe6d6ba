"""What a step would cost a GPU: counted right for a module that can be counted by hand, and for the stages without a GPU."""

from __future__ import annotations

import json

import pytest
import torch
from cuda_stand_in.run import run_on_stand_in

from benchmarks.rendering.meter import Meter
from gazegaussian.config import load_run
from gazegaussian.nn.mlp import MLP
from helpers.utils.paths import run_file

BATCH, INPUTS, HIDDEN, OUTPUTS = 3, 4, 8, 2
WEIGHTS = INPUTS * HIDDEN + HIDDEN + HIDDEN * OUTPUTS + OUTPUTS
FLOAT = 4  # bytes
# Numbers that each call reads, and then those that it writes.
FORWARD = [
    ("addmm", HIDDEN + BATCH * INPUTS + INPUTS * HIDDEN, BATCH * HIDDEN),
    ("relu", BATCH * HIDDEN, BATCH * HIDDEN),
    ("addmm", OUTPUTS + BATCH * HIDDEN + HIDDEN * OUTPUTS, BATCH * OUTPUTS),
    ("sum", BATCH * OUTPUTS, 1),
]
BACKWARD = [  # the gradient of a sum is one number, repeated without copies
    ("ones_like", 0, 1),
    ("mm", 1 + HIDDEN * OUTPUTS, BATCH * HIDDEN),
    ("mm", 1 + BATCH * HIDDEN, HIDDEN * OUTPUTS),
    ("sum", 1, OUTPUTS),
    ("threshold_backward", 2 * BATCH * HIDDEN, BATCH * HIDDEN),
    ("mm", BATCH * HIDDEN + BATCH * INPUTS, INPUTS * HIDDEN),
    ("sum", BATCH * HIDDEN, HIDDEN),
]


@pytest.mark.parametrize("shape", [(7, 5), (2, 7, 5)])
def test_activations_in_place_copy_no_gradient(shape):
    """Autograd copies the gradient of what is written through a view, whole, three times."""
    layers = MLP(5 + 3, [6, 6, 6], 4)
    with Meter("cpu") as meter:
        layers(torch.rand(shape), torch.rand(2, 3)).square().sum().backward()
    assert not {"copy_", "clone", "as_strided_scatter"} & meter.by_call.keys(), meter.by_call
    assert meter.by_call["leaky_relu_"]


def test_half_precision_moves_and_holds_less_than_the_full_configurations_say():
    args = ["--sizes", "full", "--stages", "meshhead", "gazegaussian", "frame", "--batches", "1", "--json"]
    done = run_on_stand_in(["-m", "benchmarks.rendering.device_cost", *args])
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {(row.get("stage") or row["changes"], row["precision"]): row for row in json.loads(done.stdout)["rows"]}
    assert len(rows) == 10
    for precision in ("fp32", "fp16"):
        gaze, pose, expression = (rows[changes, precision] for changes in ("gaze", "head pose", "expression"))
        assert 2 * gaze["GB moved"] < pose["GB moved"] < expression["GB moved"] / 3
        assert 300 < gaze["calls"] < pose["calls"] < expression["calls"] < 700
    assert rows["gaze", "fp16"]["GB moved"] < rows["gaze", "fp32"]["GB moved"]
    for stage in ("meshhead", "gazegaussian"):
        single, half = (rows[stage, precision] for precision in ("fp32", "fp16"))
        assert 0 < half["GB moved"] < single["GB moved"]
        assert 0 < half["between steps GB"] < half["peak GB"] < single["peak GB"]
        assert 500 < half["calls"] < {"meshhead": 1200, "gazegaussian": 2500}[stage]
        needed = load_run(run_file(stage, "full")).training.gpu_memory_gb
        assert needed / 3 < half["peak GB"] < needed
