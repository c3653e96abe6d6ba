"""Trains the guide and the judge: `python -m gazegaussian.reference_networks.train {guide,judge}`.

Under half an hour on one core each, the rendering of their people included. The weights land in
`gazegaussian/models/weights` with a header that records seed, people, images, generator version and the errors measured
on people that neither has seen.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gazegaussian.data.synthetic.generator import GENERATOR_VERSION
from gazegaussian.geometry.gaze import angular_error
from gazegaussian.models.eye_crop import CROP_HEIGHT, CROP_WIDTH
from gazegaussian.models.frozen import WEIGHTS, FrozenNetwork
from gazegaussian.reference_networks.training_data import (
    CROP_ZOOM,
    SEEDS,
    FrozenData,
    load_frozen_data,
    make_frozen_data,
    save_frozen_data,
)
from gazegaussian.utils.atomic_files import atomic_file

logger = logging.getLogger(__name__)

PEOPLE = 220
FRAMES = 6
CAMERAS = 3
TEST_PEOPLE = 40
TEST_FRAMES = 4
BATCH = 48
LEARNING_RATE = 1.5e-3
WARM_UP_STEPS = 100
EYE_PASSES = 60
FACE_PASSES = 16
RADIAN_SCALE = 10.0  # smooth L1 is quadratic below a tenth of a radian
# Rows of STEADY_LANDMARKS in a mirrored image: jaw, nose bridge, nostrils, eye corners.
MIRRORED_ROWS = [*range(16, -1, -1), *range(17, 21), *range(25, 20, -1), *range(29, 25, -1)]


def central_crop(eyes: Tensor, half_resolution: bool = False) -> Tensor:
    """Cut what the network sees out of the larger stored crops; optionally as a 128 px image would show it.

    Args:
        eyes: [B, 6, 55, 88] in [0, 1]
        half_resolution: Average 2x2 pixels of the 256 px image first.

    Returns:
        [B, 6, 40, 64]
    """
    if half_resolution:
        small = nn.functional.interpolate(eyes, scale_factor=0.5, mode="area")
        eyes = nn.functional.interpolate(small, size=eyes.shape[-2:], mode="bilinear", align_corners=False)
    return sample_crop(eyes, torch.zeros(len(eyes), 2), torch.zeros(len(eyes)), torch.ones(len(eyes)))


def sample_crop(eyes: Tensor, shift: Tensor, angle: Tensor, scale: Tensor) -> Tensor:
    """Cut moved, turned and scaled crops. shift [B, 2] in half widths, angle [B] rad, scale [B]. -> [B, 6, 40, 64]."""
    aspect = CROP_HEIGHT / CROP_WIDTH
    cos = angle.cos() * scale / CROP_ZOOM
    sin = angle.sin() * scale / CROP_ZOOM
    theta = torch.stack(
        [torch.stack([cos, -sin * aspect, shift[:, 0]], 1), torch.stack([sin / aspect, cos, shift[:, 1]], 1)], 1
    )
    grid = nn.functional.affine_grid(theta, [len(eyes), 6, CROP_HEIGHT, CROP_WIDTH], align_corners=False)
    return nn.functional.grid_sample(eyes, grid, padding_mode="border", align_corners=False)


def augment_colors(images: Tensor, generator: torch.Generator) -> Tensor:
    """Vary brightness, contrast and noise per image."""
    n = len(images)
    draw = torch.rand(3, n, 1, 1, 1, generator=generator)
    bright = draw[0] * 0.3 - 0.15
    contrast = draw[1] * 0.5 + 0.75
    noise = torch.randn(images.shape, generator=generator) * 0.03 * draw[2]
    return ((images - 0.5) * contrast + 0.5 + bright + noise).clamp(0, 1)


def tint(images: Tensor, generator: torch.Generator) -> Tensor:
    """Vary the color balance, the same for both eyes of an image. [B, 6, H, W] in [0, 1]."""
    gain = 0.85 + 0.3 * torch.rand(len(images), 3, 1, 1, generator=generator)
    return (images * gain.repeat(1, 2, 1, 1)).clamp(0, 1)


def mirror(crops: Tensor, steady: Tensor, gaze: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Show some people as in a mirror: twice the faces for the same rendering.

    Args:
        crops: Image-left, then image-right eye. [B, 6, h, w]
        steady: Normalised steady landmarks. [B, 30, 2]
        gaze: Pitch and yaw, rad. [B, 2]
        which: Rows to mirror. [B] bool

    Returns:
        The same three, mirrored in those rows.
    """
    swapped = torch.cat([crops[:, 3:], crops[:, :3]], dim=1).flip(-1)
    turned = steady[:, MIRRORED_ROWS] * steady.new_tensor([-1.0, 1.0])
    rows = which[:, None]
    return (
        torch.where(rows[..., None, None], swapped, crops),
        torch.where(rows[..., None], turned, steady),
        torch.where(rows, gaze * gaze.new_tensor([1.0, -1.0]), gaze),
    )


def eye_batches(data: FrozenData, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (crops, steady landmarks, gaze) of one pass in random order."""
    for rows in torch.randperm(len(data.gaze), generator=generator).split(BATCH):
        n = len(rows)
        eyes = data.eyes[rows].float() / 255
        degrade = torch.rand(n, generator=generator) < 0.4
        if degrade.any():
            small = nn.functional.interpolate(eyes[degrade], scale_factor=0.5, mode="area")
            eyes[degrade] = nn.functional.interpolate(small, size=eyes.shape[-2:], mode="bilinear", align_corners=False)
        uniform = torch.rand(4, n, generator=generator) * 2 - 1
        crops = sample_crop(eyes, uniform[:2].T * 0.06, uniform[2] * 0.07, 1 + uniform[3] * 0.08)
        steady = data.layout[rows] + torch.randn(n, data.layout.shape[1], 2, generator=generator) * 0.01
        crops, steady, gaze = mirror(crops, steady, data.gaze[rows], torch.rand(n, generator=generator) < 0.5)
        yield augment_colors(tint(crops, generator), generator), steady, gaze


def face_batches(data: FrozenData, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (faces, head pose, codes) of one pass in random order."""
    for rows in torch.randperm(len(data.gaze), generator=generator).split(BATCH):
        faces = data.faces[rows].float() / 255
        shift = torch.randint(-4, 5, (2,), generator=generator).tolist()
        faces = torch.roll(faces, shift, (2, 3))
        yield augment_colors(faces, generator), data.head[rows], data.codes[rows]


def train_frozen(name: str, data: FrozenData, test: FrozenData, share: float = 1.0, seed: int = 0) -> FrozenNetwork:
    """Train one network: first its eye tower, then its face tower.

    Args:
        name: `guide` or `judge`.
        data: Its own people.
        test: People neither network learns from; looked at for the log only.
        share: Of the usual number of passes over the data.
        seed: Of initialisation and augmentation.

    Returns:
        The trained network with measured errors in its metadata.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = FrozenNetwork(name)
    network.eyes.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch 2.13 stubs lack it
    eye_modules = [network.eyes, network.eye_hidden, network.gaze_head]
    face_modules = [network.face, network.face_hidden, network.pose_head, network.code_head]

    def eye_loss(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        crops, steady, gaze = batch
        with torch.autocast("cpu", torch.bfloat16):  # twice as fast on the CPUs that have it
            read = network.gaze_from_crops(crops.contiguous(memory_format=torch.channels_last), steady)
        return nn.functional.smooth_l1_loss(read.float() * RADIAN_SCALE, gaze * RADIAN_SCALE)

    def face_loss(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        faces, head, codes = batch
        pose, code = network.face_readings(faces)
        pose_loss = nn.functional.smooth_l1_loss(pose * RADIAN_SCALE, head * RADIAN_SCALE)
        return pose_loss + 0.5 * nn.functional.mse_loss(code, codes)

    for modules, batches, loss, usual in (
        (eye_modules, eye_batches, eye_loss, EYE_PASSES),
        (face_modules, face_batches, face_loss, FACE_PASSES),
    ):
        parameters = [p for module in modules for p in module.parameters()]
        optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=2e-2)
        passes = max(1, round(usual * share))
        total = passes * -(-len(data.gaze) // BATCH)
        step = 0
        for number in range(1, passes + 1):
            network.train()
            for batch in batches(data, generator):
                step += 1
                for group in optimizer.param_groups:
                    group["lr"] = LEARNING_RATE * min(1.0, step / WARM_UP_STEPS, (1 - step / total) * 1.3) + 1e-6
                value = loss(batch)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            if number % 5 == 0:
                logger.info("%s pass %d of %d: %s", name, number, passes, measure(network, test))
    network.eval()
    network.metadata.update(measure(network, test))
    return network


@torch.no_grad()
def measure(network: FrozenNetwork, test: FrozenData) -> dict[str, str]:
    """Measure errors on held-out people, at 256 px and as a 128 px image shows the eyes."""
    network.eval()
    errors = {}
    for label, half in (("256px", False), ("128px", True)):
        read = torch.cat(
            [
                network.gaze_from_crops(central_crop(eyes.float() / 255, half), steady)
                for eyes, steady in zip(test.eyes.split(64), test.layout.split(64), strict=True)
            ]
        )
        errors[f"gaze_error_deg_{label}"] = f"{angular_error(read, test.gaze).rad2deg().mean():.2f}"
        if not half:
            for axis, axis_name in enumerate(("pitch", "yaw")):
                r = torch.corrcoef(torch.stack([read[:, axis], test.gaze[:, axis]]))[0, 1]
                errors[f"pearson_{axis_name}"] = f"{r:.3f}"
    pose = torch.cat([network.face_readings(faces.float() / 255)[0] for faces in test.faces.split(64)])
    errors["head_pose_error_deg"] = f"{angular_error(pose, test.head).rad2deg().mean():.2f}"
    return errors


def save_frozen(network: FrozenNetwork, path: Path) -> None:
    """Write half-precision weights and the metadata, atomically."""
    state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    with atomic_file(path) as temporary:
        save_file(state, temporary, metadata=network.metadata)


def _data(name: str, people: int, frames: int, cache: Path | None) -> FrozenData:
    path = cache / f"{name}.npz" if cache else None
    if path and path.is_file():
        return load_frozen_data(path)
    data = make_frozen_data(SEEDS[name], people, frames, CAMERAS)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_frozen_data(path, data)
    return data


def main() -> None:
    """Render, train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["guide", "judge"])
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of passes")
    parser.add_argument("--cache", type=Path, help="folder that keeps the rendered crops")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data = _data(arguments.name, PEOPLE, FRAMES, arguments.cache)
    test = _data("test", TEST_PEOPLE, TEST_FRAMES, arguments.cache)
    network = train_frozen(arguments.name, data, test, arguments.share)
    network.metadata.update(
        name=arguments.name,
        seed=str(SEEDS[arguments.name]),
        test_seed=str(SEEDS["test"]),
        people=str(PEOPLE),
        images=str(len(data.gaze)),
        generator=str(GENERATOR_VERSION),
    )
    save_frozen(network, arguments.out / f"{arguments.name}.safetensors")
    logger.info("%s", network.metadata)


if __name__ == "__main__":
    main()
