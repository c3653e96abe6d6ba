"""The configuration schema rejects nonsense in one clear line."""

import pytest

from gazegaussian.config import (
    STAGES,
    GazeGaussianRun,
    MeshHeadRun,
    Section,
    load_run,
    parameter_fields,
    parse_run,
    with_parameters,
)
from gazegaussian.errors import ConfigError
from gazegaussian.training.changed_fields import changed_fields
from gazegaussian.utils.yaml_files import read_yaml


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("sizes", ["quick", "smoke", "demo", "full"])
def test_shipped_configurations_load(stage, sizes, repo_root):
    assert load_run(repo_root / "configs" / "runs" / stage / f"{sizes}.yaml", stage).stage == stage


@pytest.mark.parametrize("stage", STAGES)
def test_a_smoke_test_differs_in_amounts_alone(stage, repo_root):
    quick, smoke = (read_yaml(repo_root / "configs" / "runs" / stage / f"{name}.yaml") for name in ("quick", "smoke"))
    amounts = ("people", "max_train_images", "max_val_images", "warm_start_steps", "epochs")
    for section in quick.keys() - {"stage"}:
        assert quick[section].keys() == smoke[section].keys()
        differing = {name for name, value in quick[section].items() if smoke[section][name] != value}
        assert differing <= set(amounts), section
        assert all(smoke[section][name] < quick[section][name] for name in differing)


@pytest.mark.parametrize("stage", STAGES)
def test_bare_parameter_names_are_unique(stage):
    sections = [info.annotation for info in STAGES[stage].model_fields.values()]
    names = [n for s in sections if isinstance(s, type) and issubclass(s, Section) for n in s.model_fields]
    assert len(names) == len(set(names))
    assert set(parameter_fields(STAGES[stage])) == set(names)


def test_with_parameters_reaches_the_field_and_leaves_the_rest():
    run = with_parameters(GazeGaussianRun(), {"eye_lr_mult": 1.5, "dit_depth": 4, "vgg_importance": 0.2})
    assert (run.optim.eye_lr_mult, run.model.dit_depth, run.loss.vgg_importance) == (1.5, 4, 0.2)
    assert run.optim.lr == GazeGaussianRun().optim.lr


def test_unknown_parameter_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown parameter 'dit_dept'.*Did you mean 'dit_depth'.*vgg_importance"):
        with_parameters(GazeGaussianRun(), {"dit_dept": 4})


def test_unknown_parameter_comes_with_what_is_near_and_what_can_be_searched():
    with pytest.raises(ConfigError) as caught:
        with_parameters(GazeGaussianRun(), {"loss_importance": 1})
    near, known = str(caught.value).split(" Known: ")
    assert "Did you mean 'eye_loss_importance' or '" in near
    listed = known.rstrip(".").split(", ")
    assert {"lr", "batch_size", "dit_depth", "renderer"} <= set(listed)
    assert not {"root", "cache", "device", "monitor", "image_size", "epochs"} & set(listed)


def test_value_out_of_range_names_field_and_value():
    with pytest.raises(ConfigError, match=r"optim\.lr.*-1"):
        with_parameters(MeshHeadRun(), {"lr": -1})


def test_patch_must_divide_the_feature_map():
    with pytest.raises(ConfigError, match="dit_patch_size 16 does not divide"):
        with_parameters(GazeGaussianRun(), {"image_size": 160, "dit_patch_size": 16})


def test_duplicate_key_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("stage: meshhead\noptim:\n  lr: 1e-3\n  lr: 1e-4\n")
    with pytest.raises(ConfigError, match=r"line 4: key 'lr' is given twice"):
        read_yaml(path)


def test_scientific_notation_is_a_number(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("stage: meshhead\noptim:\n  lr: 1e-4\n")
    assert load_run(path).optim.lr == 1e-4


def test_misspelt_key_and_wrong_stage(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("stage: meshhead\noptim:\n  learning_rate: 0.1\n")
    with pytest.raises(ConfigError, match="learning_rate"):
        load_run(path)
    path.write_text("stage: meshhead\n")
    with pytest.raises(ConfigError, match="'gazegaussian' was asked for"):
        load_run(path, "gazegaussian")


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        ("optim", "eye_lr_mul: 1", r"optim\.eye_lr_mul: unknown key\. Did you mean 'eye_lr_mult'\? Known: lr, "),
        ("optim", "dit_depth: 4", r"optim\.dit_depth: unknown key\. Did you mean 'model\.dit_depth'\?"),
        ("trainning", "epochs: 4", r"trainning: unknown key\. Did you mean 'training'\? Known: stage, .*loss"),
        ("model", "zzz: 4", r"model\.zzz: unknown key\. Known: variant, renderer"),
    ],
)
def test_unknown_keys_are_met_with_what_was_probably_meant(tmp_path, section, line, message):
    path = tmp_path / "run.yaml"
    path.write_text(f"stage: gazegaussian\n{section}:\n  {line}\n")
    with pytest.raises(ConfigError, match=message):
        load_run(path)


def test_findings_of_our_own_come_without_pydantics_prefix():
    with pytest.raises(ConfigError, match=r": data: image_size 100 is not a multiple of 32") as caught:
        with_parameters(MeshHeadRun(), {"image_size": 100})
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize(("earlier", "now"), [("ours", "default"), ("published", "released")])
def test_variants_of_earlier_versions_are_read_under_their_present_names(earlier, now):
    assert parse_run({"stage": "meshhead", "model": {"variant": earlier}}).model.variant == now
    before = MeshHeadRun(model={"variant": now}).model_dump(mode="json")
    before["model"]["variant"] = earlier
    assert changed_fields(before, MeshHeadRun(model={"variant": now})) == [], "a study or training is resumed"
