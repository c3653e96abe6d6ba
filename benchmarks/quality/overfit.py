"""Can the model draw one image? Fits a single 128 px image with both neural renderers and prints the PSNR in the head mask.

    python -m benchmarks.quality.overfit --meshhead CHECKPOINT [--steps 1000] [--out DIR]

Rates, weights and splats are those of a fit, not of a training: nothing here has to generalise. With 32 x 32 maps, an eye is
three map pixels wide, and the convolutional renderer makes each map pixel a 4 x 4 patch on its own: it needs finer splats, and
weights that ask for edges and eyes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from gazegaussian.build import resolve_data
from gazegaussian.config import GazeGaussianRun, load_run, with_parameters
from gazegaussian.data import HeadDataset
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.mesh_head_stage import load_mesh_head
from gazegaussian.training.step import optimisation_step
from gazegaussian.types import Batch
from gazegaussian.utils.image_grid import image_grid, save_image

FIT: dict[str, dict[str, Any]] = {
    "dit": {
        "lr": 0.005,
        "features_lr_mult": 5.0,
        "dit_lr_mult": 0.2,
        "dit_depth": 4,
        "dit_head_dim": 32,
        "dit_patch_size": 4,
    },
    "conv": {
        "lr": 0.01,
        "features_lr_mult": 5.0,
        "scales_lr_mult": 1.0,
        "orthogonality_loss_importance": 0.0,
        "ssim_importance": 0.5,
        "eye_region_importance": 3.0,
        "face_subdivisions": 1,
        "eye_subdivisions": 3,
    },
}


LOOK = 100  # steps between two measurements


def masked_psnr(image: torch.Tensor, batch: Batch) -> float:
    """PSNR over the pixels of the head mask, dB."""
    mask = batch.head_mask.expand_as(image) > 0.5
    return float(-10 * torch.log10((image - batch.image)[mask].square().mean()))


def overfit(config: GazeGaussianRun, row: int, steps: int) -> tuple[dict[int, float], torch.Tensor]:
    """Train on one training image only, before the perceptual terms.

    Returns:
        PSNR by step, and the last (target, render) as a grid.
    """
    root = resolve_data(config)
    torch.manual_seed(config.training.seed)
    train = HeadDataset(root, "train", config.data.image_size)
    assert config.meshhead_checkpoint is not None
    stage = GazeGaussianStage(config, load_mesh_head(config.meshhead_checkpoint), train, train)
    batch = train.batch([row])
    groups = stage.parameter_groups(config.optim)
    parameters = [p for group in groups for p in group["params"]]
    optimizer = torch.optim.Adam(groups)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, config.optim.lr * 0.02)
    curve = {}
    for step in tqdm(range(1, steps + 1), disable=None):
        optimisation_step(lambda: stage.losses(batch, 0), parameters, optimizer, scaler, config.optim.max_grad_norm)
        schedule.step()
        if step % LOOK == 0 or step == steps:
            with torch.no_grad():
                image = stage.model(batch.parameters, batch.cameras, layers=False).image
            curve[step] = masked_psnr(image, batch)
    return curve, image_grid([torch.cat([batch.image, image])])


def main() -> None:
    """Fit with both renderers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/runs/gazegaussian/quick.yaml"))
    parser.add_argument("--meshhead", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--row", type=int, default=2, help="which training image")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    base = load_run(arguments.config, "gazegaussian")
    assert isinstance(base, GazeGaussianRun)
    for renderer in FIT:
        config = with_parameters(
            base, {**FIT[renderer], "renderer": renderer, "max_grad_norm": 100.0, "perceptual_start_epoch": 1}
        )
        config = config.model_copy(update={"meshhead_checkpoint": arguments.meshhead})
        curve, grid = overfit(config, arguments.row, arguments.steps)
        best = max(curve, key=lambda step: curve[step])
        print(
            f"{renderer}: PSNR inside the head mask at {config.data.image_size} px: {curve[best]:.2f} dB after {best} steps, "
            f"{curve[arguments.steps]:.2f} dB at the end ({arguments.steps})",
            flush=True,
        )
        if arguments.out:
            save_image(arguments.out / f"overfit_{renderer}.png", grid.numpy())


if __name__ == "__main__":
    main()
