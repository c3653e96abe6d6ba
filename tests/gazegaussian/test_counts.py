"""Numbers of things read as a person would write them."""

import pytest
import torch

from gazegaussian.evaluation.speed import device_name
from gazegaussian.utils.counts import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 people"), (1, "1 person"), (2, "2 people")])
def test_one_of_a_thing_is_singular(number, said):
    assert counted(number, "person", "people") == said


def test_the_hardware_of_one_thread(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert device_name(torch.device("cpu")).endswith(", 1 thread)")
