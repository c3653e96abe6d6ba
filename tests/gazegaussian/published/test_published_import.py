"""Import of published checkpoints: everything arrives or is listed, what is missing is named; trainings begin with them."""

import pytest
import torch
from published_support import (
    gaze_content,
    gaze_file,
    mesh_file,
    mesh_head_content,
    published_layout,
    small_mesh_head,
)
from synthetic_support import batch

from gazegaussian.errors import CheckpointError
from gazegaussian.published.checkpoint_layout import MESH_HEAD
from gazegaussian.published.import_checkpoint import import_published, read_published
from gazegaussian.training.checkpoints import load_checkpoint
from gazegaussian.training.gaze_gaussian_stage import load_gaze_gaussian
from gazegaussian.training.mesh_head_stage import load_mesh_head

# What arrives.


def test_mesh_head_renders_the_same_after_its_import(published_mesh_head, tmp_path):
    path, report = import_published(mesh_file(published_mesh_head, tmp_path / "theirs.pt"), tmp_path / "ours")
    assert path == tmp_path / "ours" / "best.pt"
    content = load_checkpoint(path, "meshhead")
    assert content["variant"] == "released"
    assert content["imported"]["unused"] == report.unused == {"optimizer": report.unused["optimizer"]}
    imported = load_mesh_head(path)
    for name, value in published_mesh_head.state_dict().items():
        assert torch.equal(imported.state_dict()[name], value), name
    offset = published_mesh_head.config.grid_resolution / imported.config.grid_resolution
    points = torch.rand(5, 3)
    torch.testing.assert_close(imported.query(points)[1], published_mesh_head.query(points)[1] * offset)


def test_gaze_gaussian_renders_the_same_after_its_import(published_gaze_gaussian, tmp_path):
    path, report = import_published(gaze_file(published_gaze_gaussian, tmp_path / "theirs.pt"), tmp_path / "ours")
    listed = {"fg_CD_predictor_eyes.eye_offset", "neural_render.bg_featmap", "neural_render.rgb_upsample.1.f"}
    assert set(report.unused) == {*listed, "iden_offset", "epoch"}
    assert report.unused["epoch"] == "not known to this program"
    imported = load_gaze_gaussian(path)
    rows = batch(2)
    with torch.no_grad():
        expected = published_gaze_gaussian.eval()(rows.parameters, rows.cameras, layers=False)
        image = imported(rows.parameters, rows.cameras, layers=False)
    assert torch.equal(image.image, expected.image)


def test_shapes_decide_the_widths(tmp_path):
    """Widths that no run configuration can express by its three numbers arrive, too."""
    odd = {"shape_color": (9, 7), "pose_color": (5,), "geometry": (16, 12, 16, 16, 10)}
    model = small_mesh_head(mlp_widths=odd)
    path, report = import_published(mesh_file(model, tmp_path / "theirs.pt"), tmp_path / "ours")
    assert report.config.model.mlp_widths == odd
    imported = load_mesh_head(path)
    assert torch.equal(imported.branches.shape_color.layers[1].weight, model.branches.shape_color.layers[1].weight)


def test_every_entry_of_the_fixtures_arrives_or_is_listed(tmp_path):
    for content in (mesh_head_content(), gaze_content()):
        torch.save(content, tmp_path / "theirs.pt")
        imported = read_published(tmp_path / "theirs.pt")
        stage = imported.stage
        taken = len(content[stage]) + len(content) - 1 - len(imported.unused)
        assert taken == len(imported.model)
        values = [value for value in imported.model.values() if value.is_floating_point()]
        for name, value in content[stage].items():
            if name not in imported.unused and value.is_floating_point():
                assert any(
                    other.numel() == value.numel() and torch.equal(other.flatten(), value.flatten()) for other in values
                )


# What is rejected.


def broken(content, name, value=None):
    state = dict(content["meshhead"])
    if value is None:
        del state[name]
    else:
        state[name] = value
    return {**content, "meshhead": state}


@pytest.mark.parametrize(
    "name",
    ["geo_mlp.conv5.bias", "eye_deform_mlp.conv1.weight", "tets", "landmarks_3d_neutral", "pose_color_mlp.conv1.bias"],
)
def test_missing_entries_are_named(published_mesh_head, tmp_path, name):
    content = {"meshhead": published_layout(published_mesh_head, [MESH_HEAD])}
    torch.save(broken(content, name), tmp_path / "theirs.pt")
    with pytest.raises(CheckpointError, match=rf"theirs\.pt: .*missing: {name}\."):
        read_published(tmp_path / "theirs.pt")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("geo_mlp.conv0.weight", torch.zeros(16, 30, 1), r"geo_mlp\.conv0\.weight is \(16, 30\), expected \(16, 27\)"),
        ("eye_deform_mlp.conv2.bias", torch.zeros(7), "eye_deform_mlp.conv2.bias"),
        ("geo_mlp.conv1.bias", torch.full((16,), float("nan")), r"not finite in geo_mlp\.conv1\.bias"),
        ("tets", torch.full((4, 4), 10**6), "tets names points up to 1000000"),
        ("landmarks_3d_neutral", [1, 2], "expected tensors.*landmarks_3d_neutral"),
    ],
)
def test_wrong_entries_are_named(published_mesh_head, tmp_path, name, value, message):
    content = {"meshhead": published_layout(published_mesh_head, [MESH_HEAD])}
    torch.save(broken(content, name, value), tmp_path / "theirs.pt")
    with pytest.raises(CheckpointError, match=message) as error:
        read_published(tmp_path / "theirs.pt")
    assert "\n" not in str(error.value)


def test_another_blur_is_refused(published_gaze_gaussian, tmp_path):
    def change(state):
        state["neural_render.rgb_upsample.1.f"] = torch.tensor([1.0, 3.0, 1.0])

    with pytest.raises(CheckpointError, match=r"rgb_upsample\.1\.f is \[1.0, 3.0, 1.0\]"):
        read_published(gaze_file(published_gaze_gaussian, tmp_path / "theirs.pt", change))


def test_files_that_are_no_published_checkpoint(published_mesh_head, tmp_path):
    with pytest.raises(CheckpointError, match="No checkpoint at"):
        read_published(tmp_path / "nowhere.pt")
    (tmp_path / "noise.pt").write_bytes(b"nothing of use")
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        read_published(tmp_path / "noise.pt")
    torch.save({"meshhead": {"code": print}}, tmp_path / "code.pt")  # only plain values are ever unpickled
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        read_published(tmp_path / "code.pt")
    torch.save({"net": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"'meshhead' or 'gazegaussian'.*found net"):
        read_published(tmp_path / "other.pt")
    ours, _ = import_published(mesh_file(published_mesh_head, tmp_path / "theirs.pt"), tmp_path / "ours")
    with pytest.raises(CheckpointError, match="of this program already"):
        read_published(ours)
    with pytest.raises(CheckpointError, match="`import`"):
        load_checkpoint(tmp_path / "theirs.pt")


def test_no_other_checkpoint_is_overwritten(published_mesh_head, tmp_path):
    theirs = mesh_file(published_mesh_head, tmp_path / "theirs.pt")
    import_published(theirs, tmp_path / "ours")
    import_published(theirs, tmp_path / "ours")  # the same again is fine
    with pytest.raises(CheckpointError, match="another checkpoint already"):
        import_published(mesh_file(published_mesh_head, tmp_path / "more.pt", epoch=3), tmp_path / "ours")
