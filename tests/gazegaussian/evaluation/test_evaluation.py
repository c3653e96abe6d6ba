"""Evaluation: the protocol, its judges, its intervals and its table."""

import csv
import json
import time

import h5py
import numpy as np
import pytest
import torch
from synthetic_support import gaze_run, gaze_stage, heads, jiggle

import helpers
from gazegaussian.data import HeadDataset
from gazegaussian.data.schema import TRAINING_ONLY
from gazegaussian.errors import CheckpointError, DataError
from gazegaussian.evaluation import extras, speed
from gazegaussian.evaluation.extras import NotAvailable
from gazegaussian.evaluation.fitted_pose import fit_poses, neutral_landmarks
from gazegaussian.evaluation.judges import Judges
from gazegaussian.evaluation.protocol import _Session, published_ssim
from gazegaussian.evaluation.results import FEW_SUBJECTS, Evaluation, few_subjects, over_subjects
from gazegaussian.evaluation.table import PUBLISHED, as_markdown, as_values, table_rows
from gazegaussian.geometry.gaze import angular_error
from gazegaussian.geometry.heads import head_to_world
from gazegaussian.geometry.rotations import axis_angle_to_matrix
from gazegaussian.models.frozen import load_frozen
from gazegaussian.training.checkpoints import save_checkpoint
from gazegaussian.training.gaze_gaussian_stage import redirection_batch
from helpers.cli import trainings
from helpers.cli.options import Device


@pytest.fixture(scope="module")
def stage():
    built = gaze_stage()
    jiggle(built.module, 0.02)
    return built


@pytest.fixture(scope="module")
def checkpoint(stage, tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation") / "best.pt"
    content = {
        "stage": "gazegaussian", "variant": "default", "architecture": stage.architecture(),
        "model": stage.module.state_dict(), "config": gaze_run().model_dump(mode="json"),
    }  # fmt: skip
    save_checkpoint(path, content)
    return path


@pytest.fixture
def nothing_optional(monkeypatch):
    def absent(*packages):
        raise NotAvailable(f"{packages[0]} not installed")

    monkeypatch.setattr(extras, "_need", absent)


def test_evaluate_writes_the_table_and_says_what_measured_it(checkpoint, tmp_path, nothing_optional, caplog):
    data = heads()[1].root
    evaluation = helpers.evaluate(checkpoint, data, pairs=4, out=tmp_path / "out", device="cpu")
    assert (evaluation.pairs, evaluation.subjects, evaluation.data_set, evaluation.image_size) == (
        4,
        1,
        "synthetic heads",
        64,
    )
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "evaluation.md", "evaluation.json", "evaluation.csv", "evaluation.png", "pairs.csv",
    }  # fmt: skip
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    for name in ("lpips", "fid", "identity"):  # nothing else takes their name
        assert stored["metrics"][name]["value"] is None
        assert "not installed" in stored["metrics"][name]["by"]
    assert "synthetic people of seed" in stored["metrics"]["gaze_error_deg"]["by"]
    assert "not LPIPS" in stored["metrics"]["perceptual"]["by"]
    assert 0 < stored["metrics"]["ssim"]["value"] < 1
    assert stored["metrics"]["fps"]["value"] > 0
    assert any("no comparison" in note for note in stored["notes"])
    assert any(note.startswith("People of split test: subject10000 (") for note in stored["notes"])
    assert any("1 subject: no interval" in note for note in stored["notes"])
    assert "There is 1 subject" in caplog.text
    rows = {row["metric"]: row["95% interval"] for row in helpers.inference.evaluation.table_rows(evaluation)}
    assert rows["SSIM"] == "-"
    with (tmp_path / "out" / "pairs.csv").open() as stream:
        pairs = list(csv.DictReader(stream))
    assert np.mean([float(row["ssim"]) for row in pairs]) == pytest.approx(stored["metrics"]["ssim"]["value"])
    assert all(row["source_row"] != row["target_row"] for row in pairs)
    again = helpers.evaluate(checkpoint, data, pairs=4, device="cpu")
    assert again.rows == evaluation.rows


def test_the_table_stands_beside_the_published_values(checkpoint, nothing_optional, capsys):
    evaluation = helpers.evaluate(checkpoint, heads()[1].root, pairs=2, device="cpu")
    rows = {row["metric"]: row for row in table_rows(evaluation)}
    assert rows["SSIM"]["GazeGaussian (published)"] == "0.823"
    assert rows["FID"]["value"] == "-"
    assert rows["FID"]["measured by"].startswith("not measured: ")
    published = {row["GazeNeRF (published)"] for row in rows.values()} - {""}
    assert published == {str(value) for value in PUBLISHED["GazeNeRF"].values()}
    assert as_markdown(evaluation).count("\n|") == len(rows) + 2
    trainings.evaluate(checkpoint, heads()[1].root, 2, device=Device.cpu)
    printed = capsys.readouterr().out
    assert "0.823" in printed
    assert "no comparison" in printed


class Prophet(torch.nn.Module):
    """Renders the target itself."""

    variant = "default"
    image_size = 64

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def forward(self, parameters, cameras, layers):
        rows = [int(np.abs(self.dataset.gaze - gaze.numpy()).sum(1).argmin()) for gaze in parameters.gaze]
        self.image = self.dataset.batch(rows).image
        return self


def test_the_target_itself_is_measured_as_perfect(nothing_optional, monkeypatch):
    monkeypatch.setattr("gazegaussian.evaluation.protocol.frames_per_second", lambda *args: 1.0)
    dataset = heads()[1]
    dataset_gaze = dataset.gaze + 1e-4 * np.arange(len(dataset))[:, None]  # one frame: tell its cameras apart
    monkeypatch.setattr(dataset, "gaze", dataset_gaze.astype(np.float32))
    session = _Session(Prophet(dataset), dataset, Judges(load_frozen("judge")), torch.device("cpu"))
    monkeypatch.setattr(session, "_posed", lambda batch: (batch, None))
    pairs = [(0, 1), (1, 0), (2, 3)]
    targets = torch.from_numpy(dataset.gaze[[target for _, target in pairs]])

    def labelled(dataset, chunk):
        batch = redirection_batch(dataset, chunk)
        batch.parameters.gaze.copy_(targets[: len(chunk)])
        return batch

    monkeypatch.setattr("gazegaussian.evaluation.protocol.redirection_batch", labelled)
    session.run(pairs)
    measured = session.metrics()
    assert measured["ssim"].value == pytest.approx(1, abs=1e-5)
    for name in ("gaze_error_deg", "head_pose_error_deg", "perceptual", "fid_judge"):
        assert measured[name].value == pytest.approx(0, abs=1e-3), name


def test_what_is_drawn_outside_the_head_costs(nothing_optional):
    dataset = heads()[1]
    batch = dataset.batch([0])
    session = _Session(torch.nn.Identity(), dataset, Judges(load_frozen("judge")), torch.device("cpu"))
    spoilt = torch.where(batch.head_mask == 0, 0.0, batch.image)
    good, bad = (session._values(image, batch.landmarks_2d, batch) for image in (batch.image * 0.98, spoilt))
    assert bad["psnr"] < good["psnr"] - 10


def test_the_source_is_read_with_its_own_landmarks(nothing_optional):
    dataset = heads()[1]
    judge = load_frozen("judge")
    session = _Session(torch.nn.Identity(), dataset, Judges(judge), torch.device("cpu"))
    source = dataset.batch([0])
    target = dataset.batch([2])
    measured = session._values(source.image, source.landmarks_2d, target)
    read = [judge.gaze(batch.image, batch.landmarks_2d) for batch in (source, target)]
    assert measured["gaze_error_deg"].item() == pytest.approx(angular_error(*read).rad2deg().item(), abs=1e-4)
    assert measured["ssim"] < 0.95


def test_intervals_cover_the_mean_of_other_people():
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(15), 6)
    hits = 0
    naive = 0
    for _ in range(150):
        values = rng.normal(0, 1, 15)[subjects] + rng.normal(0, 0.3, 90)  # people differ more than images of one
        interval = over_subjects(values, subjects, "x")
        alone = over_subjects(values, np.arange(90), "x")
        hits += interval.low <= 0 <= interval.high
        naive += alone.low <= 0 <= alone.high
        assert interval.low <= interval.value <= interval.high
    assert 0.91 <= hits / 150 <= 0.985
    assert naive / 150 < 0.7  # images as if of so many people
    assert over_subjects([1.0, 2.0], ["a", "a"], "x").low is None


def test_ssim_of_large_images_is_taken_after_averaging():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(1, 3, 256, 256, generator=generator) for _ in range(2))
    large = [torch.nn.functional.interpolate(image, scale_factor=2, mode="nearest") for image in (a, b)]
    assert torch.allclose(published_ssim(*large), published_ssim(a, b), atol=1e-5)


def test_fitted_poses_put_the_landmarks_where_they_were(stage):
    generator = torch.Generator().manual_seed(3)
    pose = torch.cat([0.5 * torch.randn(6, 3, generator=generator), 0.2 * torch.randn(6, 3, generator=generator)], 1)
    scale = 0.8 + 0.4 * torch.rand(6, 1, generator=generator)
    batch = heads()[0].batch([0, 1, 2, 3, 0, 1])
    cameras = batch.cameras

    def project(pose, scale):
        world = head_to_world(neutral_landmarks(stage.model).expand(6, -1, -1), pose, scale)
        seen = world @ cameras.rotation.transpose(1, 2) + cameras.translation[:, None]
        pixels = seen @ cameras.intrinsics.transpose(1, 2)
        return pixels[..., :2] / pixels[..., 2:] - 0.5

    landmarks = project(pose, scale)
    fitted, size, residual = fit_poses(stage.model, landmarks, cameras)
    assert (project(fitted, size) - landmarks).abs().max() < 0.01
    turn = axis_angle_to_matrix(fitted[:, :3]) @ axis_angle_to_matrix(pose[:, :3]).transpose(1, 2)
    assert torch.allclose(turn, torch.eye(3).expand(6, 3, 3), atol=1e-3)
    assert (fitted[:, 3:].norm(dim=1) <= pose[:, 3:].norm(dim=1) + 1e-3).all()
    assert residual.max() < 0.01


def test_data_without_poses_is_evaluated_with_fitted_ones_and_says_so(checkpoint, tmp_path, nothing_optional):
    root = heads()[1].root
    for number, path in enumerate(sorted(root.glob("*.h5"))[:2]):
        with h5py.File(path) as stored, h5py.File(tmp_path / f"mpii_subject{number:04d}.h5", "w") as file:
            for key in stored.keys() - set(TRAINING_ONLY):
                file[key] = stored[key][()]
    evaluation = helpers.evaluate(checkpoint, tmp_path, pairs=4, device="cpu")
    whole = helpers.evaluate(checkpoint, root, pairs=4, device="cpu", split="val")
    assert evaluation.data_set == "MPIIFaceGaze (evaluation only)"
    assert evaluation.subjects == 2
    assert any("fitted to the landmarks" in note for note in evaluation.notes)
    assert any("--gaze-network" in note for note in evaluation.notes)  # no synthetic.json: may be photographs
    assert whole.notes[0] == few_subjects(1)
    assert whole.notes[1].startswith("People of split val: subject0001 (these people chose the best epoch")
    assert evaluation.metrics["psnr"].value == pytest.approx(whole.metrics["psnr"].value, abs=3)
    assert evaluation.metrics["psnr"].low is not None


def test_few_subjects_are_said_and_enough_are_not():
    assert few_subjects(FEW_SUBJECTS) is None
    assert "There are 19 subjects: intervals are wide" in few_subjects(FEW_SUBJECTS - 1)
    assert "no interval" in few_subjects(1)


@pytest.mark.parametrize("people", [2, 3, 5, 10])
def test_intervals_of_few_people_hold_what_they_promise(people):
    """Where a percentile bootstrap held the mean in 51, 74, 85 and 89% instead of 95%."""
    rng = np.random.default_rng(people)
    held = 0
    samples = 2000
    subjects = np.repeat(np.arange(people), 4)
    for _ in range(samples):
        values = rng.normal(size=people)[subjects] + rng.normal(0, 0.5, len(subjects))
        interval = over_subjects(values, subjects, "x")
        held += interval.low <= 0 <= interval.high
    assert 0.935 <= held / samples <= 0.965


def test_the_interval_of_equally_many_images_is_that_of_the_peoples_means():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(6, 4))
    interval = over_subjects(values.ravel(), np.repeat(np.arange(6), 4), "x")
    means = values.mean(1)
    half = 2.5705818 * means.std(ddof=1) / np.sqrt(6)  # Student t, 5 degrees of freedom
    assert (interval.low, interval.high) == pytest.approx((means.mean() - half, means.mean() + half))


def test_people_that_are_all_alike_give_no_interval():
    for count in (4, 7):  # of the first person; 0.1 is not exact, so sums differ by rounding
        alike = over_subjects([0.1] * (count + 6), [0] * count + [1] * 3 + [2] * 3, "a judge")
        assert alike.value == pytest.approx(0.1)
        assert alike.low is alike.high is None
        assert alike.by == "a judge; no interval: all people have the same value"
    assert over_subjects([0.0] * 4, [0, 0, 1, 1], "x").low is None
    assert over_subjects([0.1, 0.1 + 1e-9], [0, 1], "x").low is not None


def test_a_person_counts_by_its_images():
    assert over_subjects([1.0] * 9 + [2.0], [0] * 9 + [1], "x").value == pytest.approx(1.1)


def test_the_table_says_that_all_people_are_alike():
    measured = over_subjects([20.0] * 4, [0, 0, 1, 1], "torchmetrics")
    evaluation = Evaluation("c", "default", "d", "s", "test", 2, 4, 64, "cpu", {"psnr": measured}, (), [], [])
    row = table_rows(evaluation)[0]
    assert (row["value"], row["95% interval"]) == ("20.00", "-")
    assert row["measured by"].endswith("no interval: all people have the same value")
    assert as_values(evaluation)["metrics"]["psnr"]["low"] is None


def test_what_cannot_be_evaluated_is_one_line(checkpoint, tmp_path):
    with pytest.raises(DataError, match="expected a data folder"):
        helpers.evaluate(checkpoint, tmp_path / "nowhere", device="cpu")
    with pytest.raises(CheckpointError, match="No checkpoint at"):
        helpers.evaluate(tmp_path / "none.pt", heads()[1].root, device="cpu")
    with pytest.raises(CheckpointError, match="No gaze network at"):
        helpers.evaluate(checkpoint, heads()[1].root, gaze_network=tmp_path / "none.pt", device="cpu")


def test_warm_up_is_not_counted(monkeypatch):
    calls = []

    class Slow:
        def __init__(self, model, dtype):
            assert dtype == torch.float32

        def render(self, parameters, cameras):
            calls.append(parameters)
            time.sleep(0.2 if len(calls) <= speed.WARM_UP else 0.005)

    monkeypatch.setattr(speed, "FrameRenderer", Slow)
    fps = speed.frames_per_second(torch.nn.Identity(), heads()[1].batch([0, 1]), torch.device("cpu"))
    assert 20 < fps < 200
    for name in ("gaze", "pose", "shape_code"):  # nothing can be remembered
        assert len({tuple(getattr(head, name)[0].tolist()) for head in calls}) == len(calls)
    assert all(len(head.gaze) == 1 for head in calls)


class Renderer:
    """A recogniser that knows people by a number."""

    def __init__(self, dataset):
        self.codes = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), dim=-1)
        self.dataset = dataset

    def embed(self, images, landmarks_2d):
        targets = torch.stack([self.dataset[i]["landmarks_2d"] for i in range(len(self.dataset))])
        rows = [(targets - one).abs().sum((1, 2)).argmin().item() for one in landmarks_2d]
        return self.codes[self.dataset.subjects[rows]]


def test_identity_is_told_beside_that_of_strangers(checkpoint, monkeypatch, nothing_optional):
    data = HeadDataset(heads()[0].root, [*heads()[0].keys, *heads()[1].keys], 64)
    monkeypatch.setattr("gazegaussian.evaluation.protocol.load_recogniser", lambda: (Renderer(data), "Painter"))
    session = _Session(Prophet(data), data, Judges(load_frozen("judge")), torch.device("cpu"))
    monkeypatch.setattr("gazegaussian.evaluation.protocol.frames_per_second", lambda *args: 1.0)
    session.run([(0, 1), (2, 3), (4, 5), (6, 7)])
    identity = session.metrics()["identity"]
    assert (identity.value, identity.source, identity.by) == (pytest.approx(100), pytest.approx(100), "Painter")
    assert f"two different people of this data: {100 * 0.5**0.5:.1f}%" in " ".join(session.notes())
