"""Packed checkpoints: small, read like any other, drawn like the original; hostile ones cost one line."""

import json
import logging
import struct

import pytest
import torch
from hostile_support import assert_harmless, assert_refused, mutations
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from synthetic_support import gaze_run, gaze_stage, heads, jiggle

from gazegaussian.data.synthetic.folder import SETTINGS_FILE
from gazegaussian.errors import CheckpointError
from gazegaussian.inference import load_redirector
from gazegaussian.training import checkpoint_files as files
from gazegaussian.training import packed, shipped
from gazegaussian.training.checkpoints import load_checkpoint, save_checkpoint
from gazegaussian.training.gaze_gaussian_stage import load_gaze_gaussian
from gazegaussian.training.initial_weights import adopt_sizes, warm_start_gaze_gaussian

OPTIONS = {"code_basis_rank": 3, "focus_subdivisions": 1, "exact_colors": True, "feature_downscale": 2}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A checkpoint of a model with all options whose weights are all off their start."""
    run = gaze_run(**OPTIONS, root=str(heads()[0].root))
    stage = gaze_stage(run)
    jiggle(stage.model, scale=0.02)
    content = {
        "stage": "gazegaussian", "variant": "default", "architecture": stage.architecture(),
        "model": stage.module.state_dict(), "config": run.model_dump(mode="json"),
        "history": [{"epoch": 0.0, "seconds": 1800.0}, {"epoch": 1.0, "seconds": 1800.0}],
        "best": {"metric": 0.2, "epoch": 1, "monitor": "val_loss"},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("original") / "best.pt"
    save_checkpoint(path, content)
    return path


@pytest.fixture(scope="module")
def small(original):
    path = original.with_name("demo.safetensors")
    shipped.main([str(original), "--command", "train gazegaussian", "--commit", "abc", "--out", str(path)])
    return path


def test_it_is_half_as_large_and_draws_the_same(original, small):
    assert small.stat().st_size < 0.55 * original.stat().st_size
    rows = heads()[1].batch([0, 1])
    gaze = torch.tensor([[0.2, -0.3], [-0.2, 0.4]])
    a, b = (load_redirector(path, "cpu").image(rows, gaze) for path in (original, small))
    assert 0 < (a - b).abs().mean() <= 0.1 / 255
    assert (a - b).abs().max() <= 3 / 255


def test_positions_keep_their_precision(original, small):
    whole = load_gaze_gaussian(original).state_dict()
    half = load_gaze_gaussian(small).state_dict()
    assert whole.keys() == half.keys()
    assert torch.equal(whole["face.means"], half["face.means"])
    assert not torch.equal(whole["face.features"], half["face.features"])
    assert all(value.dtype == whole[name].dtype for name, value in half.items())


def test_it_says_how_it_was_trained_and_holds_no_path(original, small):
    content = load_checkpoint(small, "gazegaussian")
    assert content["origin"] | {"checkpoint_sha256": ""} == {
        "command": "train gazegaussian", "seed": 0, "epochs": 2, "hours": 1.0, "commit": "abc", "checkpoint_sha256": "",
        "best": {"metric": 0.2, "epoch": 1, "monitor": "val_loss"},
        "data": json.loads((heads()[0].root / SETTINGS_FILE).read_text()),
    }  # fmt: skip
    config = content["config"]
    assert (config["data"]["root"], config["data"]["people"], config["data"]["cameras"]) == (None, 2, 4)
    assert str(original.parent) not in str({name: value for name, value in content.items() if name != "model"})
    assert {"offsets", "optimizer", "history"}.isdisjoint(
        {*content, *(name.split(".")[0] for name in content["model"])}
    )


def test_a_training_begins_with_it_and_adopts_the_sizes_of_its_points(small):
    run = adopt_sizes(gaze_run(dit_depth=1), small)
    assert {name: getattr(run.model, name) for name in OPTIONS} == OPTIONS
    assert run.model.dit_depth == 1, "the renderer stays the configured one"
    begun = warm_start_gaze_gaussian(run)
    packed_model = load_gaze_gaussian(small)
    for name, value in packed_model.state_dict().items():
        if not name.startswith("renderer."):
            assert torch.equal(begun.state_dict()[name], value), name


def test_sizes_of_a_published_checkpoint_are_adopted_whatever_the_configuration_had(original, tmp_path):
    content = load_checkpoint(original)
    content["variant"] = content["config"]["model"]["variant"] = "released"
    content["config"]["model"] |= {
        "feature_downscale": 4,
        "exact_colors": False,
        "focus_subdivisions": 0,
        "code_basis_rank": 0,
    }
    save_checkpoint(tmp_path / "published.pt", content)
    assert adopt_sizes(gaze_run(**OPTIONS), tmp_path / "published.pt").model.code_basis_rank == 0


def test_the_name_demo_is_the_shipped_file(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "DEMO_FILE", tmp_path / "weights" / "demo.safetensors")
    with pytest.raises(CheckpointError, match=r"no shipped model \(.*demo\.safetensors\)\. Restore it from git"):
        load_checkpoint(files.Path("demo"))
    monkeypatch.setattr(files, "DEMO_FILE", small)
    (tmp_path / "demo").mkdir()  # a folder is no checkpoint
    assert load_gaze_gaussian(files.Path("demo")).image_size == 64
    (tmp_path / "demo").rmdir()
    (tmp_path / "demo").write_bytes(b"mine")
    with pytest.raises(CheckpointError, match=r"^demo is no readable checkpoint"):
        load_checkpoint(files.Path("demo"))


def test_what_cannot_be_packed(original, tmp_path):
    with pytest.raises(CheckpointError, match=r"--out must name a \.safetensors file, not .*x\.pt"):
        shipped.pack(original, tmp_path / "x.pt", "")
    content = load_checkpoint(original)
    content["model"]["model.face.shape_color.layers.0.weight"] *= 1e9
    save_checkpoint(tmp_path / "large.pt", content)
    with pytest.raises(
        CheckpointError, match=r"model\.face\.shape_color\.layers\.0\.weight holds values that half precision cannot"
    ):
        shipped.pack(tmp_path / "large.pt", tmp_path / "x.safetensors", "")
    assert not (tmp_path / "x.safetensors").exists()


def test_coarse_weights_without_their_scale_are_one_line(small, tmp_path):
    state = {name: value for name, value in load_file(small).items() if not name.endswith(".scale")}
    with safe_open(small, framework="pt") as file:
        header = {**file.metadata(), "sha256": packed._digest(state)}
    save_file(state, tmp_path / "x.safetensors", metadata=header)
    with pytest.raises(CheckpointError, match=r"is no readable packed model"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_a_file_that_is_too_large_for_git_is_warned_of(original, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shipped, "LARGEST_FILE", 1000)
    with caplog.at_level(logging.WARNING):
        shipped.main([str(original), "--command", "", "--out", str(tmp_path / "x.safetensors")])
    assert "it is to lie in git" in caplog.text


def use(path):
    load_redirector(path, "cpu")
    adopt_sizes(gaze_run(), path)


def header_of(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def rewrite(path, target, change):
    """Change the header as parsed JSON, and leave the weights."""
    header, weights = header_of(path)
    change(header)
    text = json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + weights)


def entry(name, change):
    def of(header):
        value = json.loads(header["__metadata__"][name])
        change(value)
        header["__metadata__"][name] = json.dumps(value)

    return of


FIRST = "model.eyes.means"
WRONG = {
    "no metadata": lambda h: h.pop("__metadata__"),
    "no stage": lambda h: h["__metadata__"].pop("stage"),
    "another version": lambda h: h["__metadata__"].update(schema_version="2"),
    "a nest": lambda h: h["__metadata__"].update(config="[" * 100_000),
    "no JSON": lambda h: h["__metadata__"].update(architecture="{"),
    "a configuration that is none": lambda h: h["__metadata__"].update(config="3"),
    "other weights": lambda h: h["__metadata__"].update(sha256="0" * 64),
    "a huge tensor": lambda h: h[FIRST].update(shape=[10**9, 3]),
    "an endless tensor": lambda h: h[FIRST].update(data_offsets=[0, 10**15]),
    "another type": lambda h: h[FIRST].update(dtype="I32"),
    "a missing tensor": lambda h: h.pop(FIRST),
    "many points": entry("architecture", lambda value: value.update(face_points=10**9)),
    "a wide renderer": entry("config", lambda value: value["model"].update(dit_head_dim=10**7)),
    "a high rank": entry("config", lambda value: value["model"].update(code_basis_rank=10**9)),
}  # fmt: skip


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_packed_models_with_wrong_contents(small, tmp_path, change):
    rewrite(small, tmp_path / "bad.safetensors", change)
    assert_refused(use, tmp_path / "bad.safetensors", "bad.safetensors")


def test_headers_and_files_of_other_kinds(small, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", 10**8) + b"{" * 100)
    assert_refused(use, path, "a header of 100000000 bytes")
    save_file(load_file(small), path)
    assert_refused(use, path, "lacks 'sha256'")
    path.write_bytes(b"")
    assert_refused(use, path, "no readable packed model")
    rewrite(small, path, lambda header: None)
    use(path)  # what these tests change is what makes the difference


def test_a_changed_weight_is_found(small, tmp_path):
    data = bytearray(small.read_bytes())
    data[-1000] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="its weights are not those that were written"):
        load_checkpoint(tmp_path / "bad.safetensors")


def test_mutated_packed_models_are_read_or_refused(small, tmp_path):
    for bad in mutations(small.read_bytes()):
        (tmp_path / "bad.safetensors").write_bytes(bad)
        assert_harmless(use, tmp_path / "bad.safetensors")
