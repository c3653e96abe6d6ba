"""`redirect` rejects what cannot be before a model is loaded, and says where the model has to guess."""

import logging
import math

import pytest
import torch
from synthetic_support import gaze_run, gaze_stage

import helpers
from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.inference import Redirector, load_redirector
from gazegaussian.training.checkpoints import save_checkpoint
from helpers.inference import strip as redirect_strip


def redirect(tmp_path, pitch=(0.0,), yaw=(0.0,), out="strip.png", checkpoint="none.pt"):
    return helpers.redirect(tmp_path / checkpoint, tmp_path, "subject0001", 0, list(pitch), list(yaw), tmp_path / out)


def draw(tmp_path, *commands):
    redirect_strip.render_file(tmp_path / "none.pt", tmp_path, "subject0001.h5", 0, commands, tmp_path / "strip.png")


@pytest.mark.parametrize("out", ["x.txt", "x.jpg", "x"])
def test_only_png_is_written(tmp_path, out):
    with pytest.raises(ConfigError, match=r"--out must name a PNG file, such as x\.png, not"):
        redirect(tmp_path, out=out)
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("angles", "message"),
    [
        ({"yaw": (0.0, 400.0)}, "--yaw takes -90 to 90 degrees, not 400"),
        ({"pitch": (-90.5,)}, r"--pitch takes -90 to 90 degrees, not -90\.5"),
        ({"yaw": (math.nan,)}, "--yaw takes -90 to 90 degrees, not nan"),
    ],
)
def test_angles_that_no_eye_has_are_refused_before_the_model_is_loaded(tmp_path, angles, message):
    with pytest.raises(ConfigError, match=message):
        redirect(tmp_path, **angles)


def test_angles_up_to_the_limit_reach_the_model(tmp_path):
    with pytest.raises(CheckpointError, match="No checkpoint"):
        redirect(tmp_path, pitch=(90.0,), yaw=(-90.0,))


def test_beyond_training_is_warned_of(tmp_path, monkeypatch, caplog):
    class Loaded(Exception):
        pass

    def no_data(*args, **options):
        raise Loaded

    model = torch.nn.Identity()
    limits = (math.radians(25), math.radians(30))
    monkeypatch.setattr(
        redirect_strip, "load_redirector", lambda *args: Redirector(model, 64, torch.device("cpu"), limits)
    )
    monkeypatch.setattr(redirect_strip, "HeadDataset", no_data)
    with caplog.at_level(logging.WARNING), pytest.raises(Loaded):
        draw(tmp_path, (0.0, 29.0), (20.0, -40.0))
    assert caplog.messages == ["yaw -40 degrees is beyond the +-30 degrees that training saw"]


@pytest.mark.parametrize(("stored", "warned"), [(32, True), (64, False)])
def test_data_of_another_size_is_warned_of(tmp_path, monkeypatch, caplog, stored, warned):
    class Data:
        posed = True

        def __init__(self, *_, for_training):
            pass

        def __len__(self):
            return 1

        def stored_size(self, index):
            return stored

        def batch(self, rows):
            return None

    model = torch.nn.Identity()
    redirector = Redirector(model, 64, torch.device("cpu"))
    monkeypatch.setattr(redirector, "image", lambda batch, gaze: torch.zeros(len(gaze), 3, 64, 64))
    monkeypatch.setattr(redirect_strip, "load_redirector", lambda *_: redirector)
    monkeypatch.setattr(redirect_strip, "HeadDataset", Data)
    with caplog.at_level(logging.WARNING):
        draw(tmp_path, (0.0, 0.0))
    assert (tmp_path / "strip.png").is_file()
    assert ("have 32 px, the checkpoint was trained at 64" in caplog.text) == warned


def test_what_training_saw_is_known_for_synthetic_heads(tmp_path):
    stage = gaze_stage()
    for root, known in ((None, True), (str(tmp_path), False)):
        content = {
            "stage": "gazegaussian", "variant": "default", "architecture": stage.architecture(),
            "model": stage.module.state_dict(), "config": gaze_run(root=root).model_dump(mode="json"),
        }  # fmt: skip
        save_checkpoint(tmp_path / "best.pt", content)
        assert (load_redirector(tmp_path / "best.pt", "cpu").trained_gaze is not None) == known
