"""The benchmark of commanded gaze: correlations, errors and their intervals for other people."""

import math

import numpy as np
import pytest
import torch

from benchmarks.quality.gaze_agreement import follow, gaze_grid

GRID = gaze_grid(17, 5)


def test_a_faithful_a_damped_a_reversed_and_a_deaf_renderer():
    everyone = GRID.expand(3, -1, -1)
    faithful = follow(GRID, everyone)
    assert faithful["pearson_pitch"].value == pytest.approx(1.0)
    assert faithful["mean_error_deg"].value == pytest.approx(0.0, abs=1e-4)
    assert faithful["pearson_pitch"].low is None, "three people that are all alike show nothing of others"
    damped = follow(GRID, 0.5 * everyone + 0.1)  # correlation does not see gain and offset
    assert damped["pearson_yaw"].value == pytest.approx(1.0)
    assert damped["mean_error_deg"].value > 5
    reversed_yaw = follow(GRID, everyone * torch.tensor([1.0, -1.0]))
    assert reversed_yaw["pearson_pitch"].value == pytest.approx(1.0)
    assert reversed_yaw["pearson_yaw"].value == pytest.approx(-1.0)
    deaf = follow(GRID, torch.zeros_like(everyone))
    assert math.isnan(deaf["pearson_pitch"].value)
    assert math.isnan(deaf["pearson_yaw"].value)
    assert deaf["pearson_pitch"].low is None


def test_by_hand():
    commanded = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0]])
    read = torch.tensor([[[0.0, 0.0], [0.2, 0.0], [0.1, 0.0]]])
    found = follow(commanded, read)
    assert found["pearson_pitch"].value == pytest.approx(0.5)
    assert found["mean_error_deg"].value == pytest.approx(math.degrees(0.2 / 3), abs=1e-4)
    assert found["mean_error_deg"].low is found["pearson_pitch"].low is None, "one person says nothing of others"
    assert math.isnan(found["pearson_yaw"].value)


def test_intervals_hold_the_value_of_other_people():
    """Everyone has an own gain and offset; the interval of ten people is to hold what very many people have."""
    generator = torch.Generator().manual_seed(0)

    def readings(people):
        gain = 0.7 + 0.2 * torch.randn(people, 1, 1, generator=generator)
        offset = 0.05 * torch.randn(people, 1, 2, generator=generator)
        return gain * GRID + offset + 0.03 * torch.randn(people, len(GRID), 2, generator=generator)

    truth = follow(GRID, readings(2000))
    samples = [follow(GRID, readings(10)) for _ in range(300)]
    for name, true in truth.items():
        held = np.mean([one[name].low <= true.value <= one[name].high for one in samples])
        assert 0.90 <= held <= 0.99, name
