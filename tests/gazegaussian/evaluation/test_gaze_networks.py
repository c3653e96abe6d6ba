"""Gaze networks of the published layouts: entries, shapes, errors."""

import math

import pytest
import torch

from gazegaussian.errors import CheckpointError
from gazegaussian.evaluation import gaze_networks
from gazegaussian.evaluation.gaze_networks import ResNet50, ResNetGaze, VggGaze, load_gaze_network
from gazegaussian.evaluation.judges import Judges
from gazegaussian.models.frozen import load_frozen


@pytest.fixture
def narrow(monkeypatch):
    """The published layouts with few channels: the same entries in files of kilobytes."""
    stages = tuple((4, blocks, stride) for _, blocks, stride in gaze_networks.RESNET50_STAGES)
    monkeypatch.setattr(gaze_networks, "RESNET50_STAGES", stages)
    convolutions = tuple(width and 4 for width in gaze_networks.VGG16_CONVOLUTIONS)
    monkeypatch.setattr(gaze_networks, "VGG16_CONVOLUTIONS", convolutions)


def save(path, network, wrap="model_state", prefix="", **others):
    state = {prefix + name: value for name, value in network.state_dict().items()} | others
    torch.save({wrap: state, "epoch": 7} if wrap else state, path)
    return path


def test_backbones_have_the_entries_of_the_standard_ones():
    state = ResNet50().state_dict()
    assert len(state) == 318  # 320 of the standard ResNet-50 without its classifier
    assert sum(p.numel() for p in ResNet50().parameters()) == 25_557_032 - 2048 * 1000 - 1000
    for name, shape in {
        "conv1.weight": (64, 3, 7, 7), "layer1.0.downsample.0.weight": (256, 64, 1, 1), "bn1.running_var": (64,),
        "layer2.0.conv2.weight": (128, 128, 3, 3), "layer3.5.bn3.num_batches_tracked": (), "layer4.2.conv3.weight": (2048, 512, 1, 1),
    }.items():  # fmt: skip
        assert tuple(state[name].shape) == shape
    assert "layer1.1.downsample.0.weight" not in state
    state = VggGaze(4).state_dict()
    convolutions = {int(name.split(".")[1]) for name in state if name.startswith("vgg16")}
    assert convolutions == {0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28}
    assert sum(value.numel() for name, value in state.items() if name.startswith("vgg16")) == 14_714_688
    assert {name: tuple(state[f"{name}.weight"].shape) for name in ("FC1", "FC2", "FC3")} == {
        "FC1": (64, 512), "FC2": (64, 64), "FC3": (4, 64),
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(ResNetGaze, "ResNet-50"), (VggGaze, "VGG-16")])
@pytest.mark.parametrize("outputs", [4, 2])
def test_published_checkpoints_load_and_read(tmp_path, narrow, kind, name, outputs):
    unused = {"gaze_network.fc.weight": torch.zeros(10, 16)} if kind is ResNetGaze else {}
    path = save(tmp_path / "judge.pth.tar", kind(outputs), **unused)
    network = load_gaze_network(path)
    assert network.description == f"{name} from judge.pth.tar"
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    image = torch.rand(2, 3, 96, 96)
    gaze = network.gaze(image, torch.zeros(2, 68, 2))
    assert gaze.shape == (2, 2)
    assert torch.isfinite(gaze).all()
    judge = load_frozen("judge")
    judges = Judges(judge, network)
    assert judges.head_pose(image).shape == (2, 2)
    assert judges.gaze_by == network.description
    assert judges.head_by == (network.description if outputs == 4 else judge.description)
    assert not judges.reads_labels


def test_names_of_data_parallel_training_and_plain_states_are_read(tmp_path, narrow):
    for wrap, prefix in (("state_dict", "module."), ("", "")):
        assert isinstance(load_gaze_network(save(tmp_path / "x.pt", VggGaze(4), wrap, prefix)), VggGaze)


def test_vgg_angles_are_bounded_and_depend_on_the_image():
    torch.manual_seed(0)
    network = VggGaze(4).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        first, second = network(images)
        network.FC3.weight.mul_(1e6)
        largest = network(images).abs().max()
    assert not torch.equal(first, second)
    assert largest == pytest.approx(math.pi / 2)


def test_resnet_halves_in_the_middle_of_a_bottleneck():
    block = ResNet50().get_submodule("layer2.0").eval()
    assert (block.conv1.stride, block.conv2.stride, block.downsample[0].stride) == ((1, 1), (2, 2), (2, 2))
    assert ResNet50().eval()(torch.rand(1, 3, 64, 64)).shape == (1, 2048)


def test_other_files_are_one_line(tmp_path, narrow):
    whole = VggGaze(4).state_dict()
    lacking = {name: value for name, value in whole.items() if name != "vgg16.0.weight"}
    cases = {
        "without vgg16.0.weight": {"model_state": lacking},
        "with unknown more": {"model_state": whole | {"more": torch.zeros(1)}},
        "with other shapes of FC1.weight": {"model_state": whole | {"FC1.weight": torch.zeros(64, 256)}},
        "expected a gaze network of the published layouts": {"model_state": {"weight": torch.zeros(1)}},
        "found entries such as none": [1, 2],
        "no readable gaze network": {"model_state": ValueError("code in a checkpoint")},
        r"no readable gaze network .*--gaze-network": {
            "FC3.weight": torch.zeros(1).expand(4, 10**9)
        },  # 16 GB of nothing
    }
    for message, content in cases.items():
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=message) as caught:
            load_gaze_network(tmp_path / "x.pt")
        assert "\n" not in str(caught.value)
