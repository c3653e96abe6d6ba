"""Study files: what is accepted, what is refused and how that is said."""

import pytest

from gazegaussian.config import GazeGaussianRun, MeshHeadRun
from gazegaussian.errors import ConfigError
from helpers.search_space import StudyFile, baseline, check_space, load_study_file


def study_file(space) -> StudyFile:
    return StudyFile.model_validate({"study_name": "toy", "trials": 6, "search_space": space})


def test_unknown_parameter_lists_the_known(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("study_name: a\ntrials: 1\nsearch_space:\n  x:\n    learning_rte: {type: int, min: 1, max: 2}\n")
    with pytest.raises(ConfigError, match=r"unknown parameter 'learning_rte'.*Known: .*lr"):
        load_study_file(path, "meshhead")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"type": "float", "min": 1.0, "max": 0.1}, "min 1.0 is above max 0.1"),
        ({"type": "float", "min": 0.0, "max": 0.1, "log": True}, "log needs min > 0"),
        ({"type": "categorical", "choices": []}, "choices"),
        ({"type": "float", "min": 0.0, "max": 0.1, "stepp": 1}, "stepp"),
    ],
)
def test_impossible_spaces_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        study_file({"x": {"lr": space}})


def test_baseline_outside_its_space_is_an_error():
    with pytest.raises(ConfigError, match=r"baseline.s lr = 0\.001 lies outside"):
        baseline(study_file({"x": {"lr": {"type": "float", "min": 0.01, "max": 0.1}}}), MeshHeadRun())


@pytest.mark.parametrize("stage", ["meshhead", "gazegaussian"])
@pytest.mark.parametrize("size", ["quick", "demo", "published"])
def test_shipped_study_files_hold_the_whole_space(stage, size, repo_root):
    from gazegaussian.config import load_run

    study = load_study_file(repo_root / "configs" / f"{stage}_{size}_study.yaml", stage)
    config = load_run(repo_root / "configs" / f"{stage}_{size}.yaml", stage)
    assert baseline(study, config)
    check_space(study, config)
    expected = {
        "meshhead": {"lr", "batch_size", "shape_mlp_width", "pose_mlp_width", "eye_mlp_width"},
        "gazegaussian": {
            "lr", "eye_lr_mult", "dit_depth", "dit_num_heads", "dit_patch_size", "vgg_importance",
            "eye_loss_importance", "gaze_loss_importance", "orthogonality_loss_importance",
        },
    }  # fmt: skip
    assert set(study.parameters) == expected[stage]


def test_gazegaussian_defaults_are_the_published_baseline():
    run = GazeGaussianRun()
    assert (run.optim.lr, run.model.dit_depth, run.model.dit_num_heads, run.model.dit_patch_size) == (1e-4, 6, 8, 8)
    assert (run.loss.vgg_importance, run.loss.gaze_loss_importance, run.loss.eye_loss_importance) == (0.1, 0.1, 1.0)


def test_a_choice_that_no_model_can_be_built_with_is_named():
    space = {"x": {"dit_patch_size": {"type": "categorical", "choices": [8, 16]}}}
    with pytest.raises(ConfigError, match=r"dit_patch_size = 16.*does not divide the 24 px feature map"):
        check_space(study_file(space), GazeGaussianRun(data={"image_size": 96}))


def test_a_parameter_in_two_categories_is_refused():
    lr = {"type": "float", "min": 0.1, "max": 1.0}
    with pytest.raises(ValueError, match="lr in more than one category"):
        study_file({"a": {"lr": lr}, "b": {"lr": lr}})
