"""Sweeps: which angles they go through, what they write, and where a head is put."""

import itertools
import sys
from dataclasses import asdict, astuple, replace

import numpy as np
import pytest
import torch
from PIL import Image
from redirect_panel_support import LIMITS
from synthetic_support import SIZE, heads

import helpers
from gazegaussian.errors import ConfigError, DataError
from gazegaussian.geometry.cameras import project_points
from gazegaussian.geometry.heads import facing, turned_to
from helpers.cli.options import Sweep
from helpers.inference import animation
from helpers.inference.animation import SWEEPS, sweep_angles, write_animation
from helpers.inference.scene import Angles, moved_landmarks

START = Angles(1.0, 2.0, 3.0, 4.0)


def test_heads_turn_to_where_they_are_told_and_keep_place_and_roll():
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn(20, 6, generator=generator) * 0.4
    wanted = torch.randn(20, 2, generator=generator) * 0.4
    turned = turned_to(pose, wanted)
    assert torch.allclose(facing(turned), wanted, atol=1e-5)
    assert torch.equal(turned[:, 3:], pose[:, 3:])
    assert torch.allclose(turned_to(turned, facing(pose)), pose, atol=1e-5)


def test_landmarks_follow_the_head_as_the_camera_sees_it():
    batch = heads()[1].batch([0, 1, 2])
    pose = batch.parameters.pose
    assert torch.allclose(project_points(batch.landmarks_3d[:, :68], batch.cameras), batch.landmarks_2d, atol=2e-2)
    assert torch.allclose(moved_landmarks(batch, pose), batch.landmarks_2d, atol=1e-4)
    moved = torch.cat([pose[:, :3], pose[:, 3:] + torch.tensor([0.1, 0.0, 0.0])], -1)
    shift = replace(batch.cameras, translation=batch.cameras.translation + batch.cameras.rotation[..., 0] * 0.1)
    assert torch.allclose(
        moved_landmarks(batch, moved), project_points(batch.landmarks_3d[:, :68], shift), atol=2e-2
    )  # moving the head is moving the camera the other way


@pytest.mark.parametrize("sweep", SWEEPS)
def test_sweeps_close_stay_inside_and_move_what_they_name(sweep):
    angles = sweep_angles(sweep, START, LIMITS, 12)
    steps = [np.abs(np.subtract(astuple(a), astuple(b))).max() for a, b in itertools.pairwise([*angles, angles[0]])]
    assert max(steps) < 16, "the last frame is followed by the first without a jump"
    values = {name: [asdict(a)[name] for a in angles] for name in LIMITS}
    assert all(
        LIMITS[name][0] <= value <= LIMITS[name][1]
        for name in LIMITS
        for value in values[name]
        if len({*values[name]}) > 1
    )
    moved = {name for name in LIMITS if len({*values[name]}) > 1}
    assert (
        moved
        == {
            "gaze-circle": {"gaze_pitch", "gaze_yaw"},
            "gaze-left-right": {"gaze_yaw"},
            "head-left-right": {"head_yaw"},
        }[sweep]
    )


def test_unknown_sweeps_are_refused():
    with pytest.raises(ConfigError, match="Expected one of the sweeps gaze-circle, gaze-left-right"):
        sweep_angles("spiral", START, LIMITS)


def test_a_sweep_without_a_panel(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(animation, "find_ffmpeg", lambda: None)
    root = heads()[1].root
    person = heads()[1].keys[0].removesuffix(".h5")
    written = helpers.save_sweep(checkpoints[0], root, person, 0, "gaze-left-right", tmp_path / "a.gif")
    assert written == [tmp_path / "a.gif"]
    assert Image.open(written[0]).size == (SIZE, SIZE)
    assert Image.open(written[0]).n_frames > 2
    with pytest.raises(DataError, match=r"images 0 to 3; there is no frame 4"):
        helpers.save_sweep(checkpoints[0], root, person, 4, "gaze-left-right", tmp_path / "a.gif")
    with pytest.raises(ConfigError, match=r"must name a GIF file, such as a\.gif"):
        helpers.save_sweep(checkpoints[0], root, person, 0, "gaze-left-right", tmp_path / "a.png")


def test_the_command_offers_the_sweeps_there_are():
    assert [sweep.value for sweep in Sweep] == list(SWEEPS)


FFMPEG = """#!{python}
import sys
content = sys.stdin.buffer.read()
if {fails}:
    sys.exit(print("no such codec", file=sys.stderr) or 3)
width, height = map(int, sys.argv[sys.argv.index("-s") + 1].split("x"))
open(sys.argv[-1], "wb").write(b"%d frames" % (len(content) // (3 * width * height)))
"""


@pytest.mark.parametrize("fails", [False, True])
def test_mp4_comes_from_ffmpeg_and_its_failure_leaves_the_gif(tmp_path, monkeypatch, fails):
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FFMPEG.format(python=sys.executable, fails=fails))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    frames = [Image.new("RGB", (31, 20), color) for color in ("red", "green", "blue")]
    if fails:
        with pytest.raises(ConfigError, match=r"it failed \(no such codec\). The GIF"):
            write_animation(frames, tmp_path / "a.gif")
    else:
        assert write_animation(frames, tmp_path / "a.gif") == [tmp_path / "a.gif", tmp_path / "a.mp4"]
        assert (tmp_path / "a.mp4").read_bytes() == b"3 frames"
    assert Image.open(tmp_path / "a.gif").n_frames == 3
    assert {path.suffix for path in tmp_path.glob("*.*")} == ({".gif"} if fails else {".gif", ".mp4"})
