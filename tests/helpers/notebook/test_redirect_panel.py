"""Sliders for gaze and head pose: what they draw, how bursts of changes are joined, what the panel says."""

import asyncio
import io
import queue
import time
from dataclasses import astuple

import numpy as np
import pytest
import torch
from jupyter_client.manager import start_new_kernel
from PIL import Image
from redirect_panel_support import LIMITS
from synthetic_support import SIZE, heads

from gazegaussian.errors import DataError
from gazegaussian.geometry.heads import facing
from helpers.inference import animation
from helpers.inference.scene import People
from helpers.notebook.redirect_panel import Coalesced, short_labels
from helpers.notebook.redirect_widget import open_comparison, open_panel


@pytest.fixture
def panel(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(People, "limits", lambda self: LIMITS)  # two people alone would leave the sliders a few degrees
    return open_panel(checkpoints[0], heads()[1].root, tmp_path)


def pixels(image):
    return np.asarray(Image.open(io.BytesIO(image.value)).convert("RGB")).astype(float)


def test_a_gaze_slider_moves_the_eyes_and_coming_back_gives_the_same_image(panel):
    panel.set(gaze_yaw=-20)
    left = pixels(panel.images[0])
    first = panel.images[0].value
    panel.sliders["gaze_yaw"].value = 20
    change = np.abs(pixels(panel.images[0]) - left).mean(-1)
    eyes = panel.people.batch(panel.person.value, panel.frame.value, SIZE).eye_mask[0, 0].bool().numpy()
    assert change[eyes].mean() > 3 * change[~eyes].mean()
    assert change[eyes].max() > 5
    panel.sliders["gaze_yaw"].value = -20
    assert panel.images[0].value == first


def test_a_head_slider_turns_the_head(panel):
    panel.set(head_yaw=-15)
    left = pixels(panel.images[0])
    panel.set(head_yaw=15)
    assert np.abs(pixels(panel.images[0]) - left).mean() > 2


def test_the_text_says_the_angles_and_what_the_judge_reads(panel, capsys):
    panel.set(gaze_pitch=7, gaze_yaw=-11)
    assert "gaze pitch +7°, yaw -11°" in panel.status.value
    assert "The judge reads gaze pitch" in panel.captions[0].value
    panel.show()  # nobody looks: image and words instead of widgets
    said = capsys.readouterr().out
    assert "gaze pitch +7°, yaw -11°" in said
    assert "model_0/best.pt: The judge reads" in said


def test_sliders_begin_as_in_the_image_and_stop_at_their_ends(panel):
    batch = panel.people.batch(panel.person.value, 0, SIZE)
    ends = torch.tensor([panel.limits[name] for name in panel.sliders])
    labels = torch.cat([batch.parameters.gaze, facing(batch.parameters.pose)], -1)[0].rad2deg()
    expected = torch.maximum(torch.minimum(labels, ends[:, 1]), ends[:, 0])
    assert torch.allclose(torch.tensor(astuple(panel.angles)), expected, atol=0.51)
    panel.set(gaze_yaw=90, head_yaw=-90)
    assert (panel.angles.gaze_yaw, panel.angles.head_yaw) == (LIMITS["gaze_yaw"][1], LIMITS["head_yaw"][0])
    panel.reset.click()
    assert torch.allclose(torch.tensor(astuple(panel.angles)), expected, atol=0.51)


def test_limits_hold_all_training_labels_and_leave_a_constant_angle_room():
    train = heads()[0]
    limits = People(heads()[0].root).limits()
    pose = train.batch(range(len(train))).parameters.pose
    labels = np.concatenate([np.degrees(train.gaze), facing(pose).rad2deg().numpy()], 1)
    low, high = np.array(list(limits.values())).T
    assert (labels >= low - 0.51).all()
    assert (labels <= high + 0.51).all()
    assert (high - low >= 9).all(), "one frame has one label"


def test_a_burst_of_changes_draws_the_last_one_alone(panel, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        panel.renderers[0], "draw", lambda *a, draw=panel.renderers[0].draw: drawn.append(a[2]) or draw(*a)
    )

    async def drag():
        for yaw in range(-5, 6):
            panel.sliders["gaze_yaw"].value = yaw
            await asyncio.sleep(0)
        while not drawn:
            await asyncio.sleep(0.01)

    panel.set(gaze_yaw=-6)
    drawn.clear()
    asyncio.run(drag())
    assert [angles.gaze_yaw for angles in drawn] == [5.0]
    assert "yaw +5°" in panel.status.value


def test_requests_during_an_act_are_not_lost():
    wanted = [1]
    done = []

    async def play():
        coalesced = Coalesced(lambda: done.append(wanted[0]), 0.01)
        coalesced.ask()
        await asyncio.sleep(0.03)
        wanted[0] = 2
        coalesced.ask()
        await asyncio.sleep(0.03)

    asyncio.run(play())
    assert done == [1, 2]


@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_without_delay_or_event_loop_a_request_is_served_at_once(delay):
    done = []
    if delay:
        Coalesced(lambda: done.append(1), delay).ask()
    else:
        asyncio.run(asyncio.to_thread(Coalesced(lambda: done.append(1), delay).ask))
    assert done == [1]


def test_models_are_compared_on_the_same_sliders(checkpoints, tmp_path):
    panel = open_comparison([*checkpoints, checkpoints[0]], heads()[1].root, tmp_path)
    panel.set(gaze_yaw=-20)
    before = [image.value for image in panel.images]
    panel.set(gaze_yaw=20)
    after = [image.value for image in panel.images]
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert after[0] == after[2] != after[1]


def test_another_person_brings_images_and_angles_of_their_own(panel):
    people = list(panel.people.names)
    assert "held out" in people[0]
    assert "seen in training" in people[-1]
    before = panel.images[0].value
    source = panel.source.value
    panel.person.value = panel.people.names[people[-1]]
    assert len(panel.frame.options) == 4
    assert panel.images[0].value != before
    assert panel.source.value != source


@pytest.mark.parametrize("part", ["painter", "people"])
def test_what_cannot_be_read_is_said_and_the_panel_stays_usable(panel, monkeypatch, part):
    def fail(*args):
        raise DataError("the file has gone")

    with monkeypatch.context() as context:
        context.setattr(*((panel.renderers[0], "draw") if part == "painter" else (panel.people, "frames")), fail)
        if part == "painter":
            panel.set(gaze_yaw=3)
        else:
            panel.person.value = list(panel.people.names.values())[-1]
        assert "error: the file has gone" in panel.status.value
    panel.set(gaze_yaw=4)
    assert "yaw +4°" in panel.status.value


def test_every_input_is_labelled_and_explained(panel):
    assert all(slider.description and slider.tooltip for slider in panel.sliders.values())
    assert all(choice.description for choice in (panel.person, panel.frame, panel.sweep))
    assert all(button.description and button.tooltip for button in (panel.reset, panel.write))


def test_the_button_writes_an_endless_gif_and_says_where(panel, monkeypatch):
    monkeypatch.setattr(animation, "find_ffmpeg", lambda: None)
    panel.sweep.value = "gaze-left-right"
    panel.write.click()
    (written,) = panel.folder.glob("*.gif")
    assert str(written) in panel.told.value
    assert panel.movie.value == written.read_bytes()
    assert panel.movie.layout.display == ""
    assert not panel.write.disabled
    gif = Image.open(written)
    assert gif.n_frames == animation.FRAMES
    assert gif.info["loop"] == 0


CELL = """
import sys
sys.path.insert(0, {root!r})
from helpers.notebook.redirect_widget import open_panel
from IPython.display import display
panel = open_panel({checkpoint!r}, {data!r}, {out!r})
display(panel.box)
slider = panel.sliders["gaze_yaw"]
slider.min, slider.max = -20, 20
print("ready", slider.model_id, panel.images[0].model_id, panel.status.model_id)
"""


def test_a_dragged_slider_in_a_kernel_is_followed_without_a_queue(repo_root, checkpoints, tmp_path):
    """Sends what a front end sends, faster than images are drawn, and looks at what comes back."""
    manager, client = start_new_kernel()
    fields = []
    images = 0
    status = ""
    try:
        names = {"root": str(repo_root), "checkpoint": str(checkpoints[0]), "data": str(heads()[1].root)}
        client.execute(CELL.format(**names, out=str(tmp_path)))
        deadline = time.monotonic() + 120
        while "yaw +9°" not in status and time.monotonic() < deadline:
            try:
                message = client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            kind = message["msg_type"]
            content = message["content"]
            assert kind != "error", content
            if kind == "stream" and "ready" in content["text"]:
                fields = content["text"].split()
                for yaw in range(-10, 10):
                    data = {"method": "update", "state": {"value": yaw}, "buffer_paths": []}
                    client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": fields[1], "data": data}))
            elif kind == "comm_msg" and fields:
                images += content["comm_id"] == fields[2]
                if content["comm_id"] == fields[3]:
                    status = content["data"]["state"].get("value", status)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "yaw +9°" in status, "the last value was not drawn"
    assert 1 <= images <= 10, "20 values came, and were drawn one by one"


def test_pictures_of_one_study_are_told_apart_by_their_trials():
    trials = ["toy, trial 0 (baseline): val_loss 0.1312", "toy, trial 1: val_loss 0.2"]
    assert short_labels(trials) == ["trial 0 (baseline)", "trial 1"]
    assert short_labels([trials[0], "demo, the shipped model"]) == ["toy", "demo"]
    assert short_labels(["train_gazegaussian/best.pt"] * 2) == ["train_gazegaussian/best.pt"] * 2
