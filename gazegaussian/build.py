"""Wires configuration, data, models and training together; the one place that does.

`train_run` is what a study calls for every trial and what the command line calls for one training.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch

from gazegaussian.config import DataConfig, GazeGaussianRun, MeshHeadRun, RunConfig
from gazegaussian.data import HeadDataset, SyntheticSettings, ensure_synthetic, people_of
from gazegaussian.errors import ConfigError, DeviceError
from gazegaussian.metrics import Judge
from gazegaussian.models.frozen import WEIGHTS
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.rendering.gsplat import require_gsplat
from gazegaussian.stages import stage_spec
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.hooks import Hook
from gazegaussian.training.initial_weights import require_initial
from gazegaussian.training.mesh_head_stage import MeshHeadStage, load_mesh_head
from gazegaussian.training.run_folder import clear_traces, resume_point
from gazegaussian.training.stage import Stage, require_parts
from gazegaussian.training.step import resolve_device
from gazegaussian.training.trainer import Trainer, TrainResult
from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.warp_setup import require_device
from gazegaussian.utils.yaml_files import dump_yaml

__all__ = [
    "Judge",
    "build_stage",
    "cpu_threads",
    "load_mesh_head",
    "open_dataset",
    "preflight",
    "resolve_data",
    "train_run",
]

logger = logging.getLogger(__name__)


def resolve_data(config: RunConfig) -> Path:
    """Return the folder of HDF5 subjects, generating the embedded synthetic heads when none is configured."""
    data = config.data
    assert isinstance(data, DataConfig), f"stage {config.stage} has no heads"
    if data.root is not None:
        return data.root
    settings = SyntheticSettings(
        people=data.people,
        size=data.image_size,
        seed=data.synthetic_seed,
        frames=data.frames,
        cameras=data.cameras,
    )
    return ensure_synthetic(data.cache, settings)


def open_dataset(root: Path, split: str, image_size: int) -> HeadDataset:
    """Open a split, its images kept in memory where they fit.

    The last two splits of a process stay open: its next training finds them decoded, unless a file of the folder has changed.
    """
    return _open(root, split, image_size, _state(root))


@functools.lru_cache(maxsize=2)
def _open(root: Path, split: str, image_size: int, state: tuple[object, ...]) -> HeadDataset:
    return HeadDataset(root, split, image_size, cache=True)


def _state(root: Path) -> tuple[object, ...]:
    """What changes with any file of a folder; that it cannot be read is said by who opens it."""
    try:
        files = [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in os.scandir(root)]
    except OSError:
        return ()
    return (root.resolve(), *sorted(files))


def build_stage(config: RunConfig) -> Stage:
    """Build model, data and validation metric of a run; the global seed is set first.

    Args:
        config: What to build.

    Raises:
        UserError: Data, checkpoint or configuration cannot be used.
    """
    build = stage_spec(config.stage).builder()
    torch.manual_seed(config.training.seed)
    stage = build(config)
    require_parts(stage, config.stage)
    return cast(Stage, stage)


def build_mesh_head_stage(config: MeshHeadRun) -> MeshHeadStage:
    """Stage one (see `build_stage`)."""
    return MeshHeadStage(config, *_splits(config))


def build_gaze_gaussian_stage(config: GazeGaussianRun) -> GazeGaussianStage:
    """Stage two (see `build_stage`)."""
    train, validation = _splits(config)
    if config.init_from:
        return GazeGaussianStage(config, None, train, validation)
    mesh_head = _mesh_head(config)
    logger.info("starts from MeshHead checkpoint %s", config.meshhead_checkpoint)
    return GazeGaussianStage(config, mesh_head, train, validation)


def _splits(config: MeshHeadRun | GazeGaussianRun) -> tuple[HeadDataset, HeadDataset]:
    root = resolve_data(config)
    torch.manual_seed(config.training.seed)  # again: data may have been made
    return open_dataset(root, "train", config.data.image_size), open_dataset(root, "val", config.data.image_size)


def preflight(config: RunConfig) -> None:
    """Find out in seconds what would end a run: device, data, checkpoint.

    Raises:
        UserError: With what is wrong and what to do.
    """
    _require_device(config)
    stage_spec(config.stage).checker()(config)


def check_heads(config: MeshHeadRun | GazeGaussianRun) -> None:
    """Look at the heads and the checkpoint of a stage of this repository (see `preflight`)."""
    if config.init_from:
        require_initial(config)
    elif isinstance(config, GazeGaussianRun):
        _mesh_head(config)
    root = resolve_data(config)
    for split in ("train", "val"):
        HeadDataset(root, split, config.data.image_size)
    logger.info("%s: %s", root, people_of(root).summary)


def _require_device(config: RunConfig) -> None:
    """Reject a device, or a renderer on it, that is not there."""
    device = resolve_device(config.training.device)
    require_device(device)
    _require_memory(config, device)
    if isinstance(config, GazeGaussianRun) and config.training.splat_backend == "gsplat":
        require_gsplat(device)


def _require_memory(config: RunConfig, device: torch.device) -> None:
    """Reject a GPU that is smaller than the configuration says it must be."""
    needed = config.training.gpu_memory_gb
    if needed is None or device.type != "cuda":
        return
    _, total = torch.cuda.mem_get_info(device)
    if total < needed * 1e9:
        raise DeviceError(
            f"This configuration needs a GPU of {needed:g} GB (training.gpu_memory_gb), and {torch.cuda.get_device_name(device)} "
            f"has {total / 1e9:.1f} GB. Take a larger GPU, batch_size 1, fewer subdivisions or a smaller image_size, and then "
            "another gpu_memory_gb."
        )


def _mesh_head(config: GazeGaussianRun) -> MeshHead:
    if config.meshhead_checkpoint is None:
        raise ConfigError(
            "GazeGaussian starts from a MeshHead checkpoint and none is named. Run the MeshHead study or training "
            "first, or give --meshhead CHECKPOINT."
        )
    return load_mesh_head(config.meshhead_checkpoint)


def train_run(config: RunConfig, run_dir: Path, hooks: Sequence[Hook] = (), resume: bool = False) -> TrainResult:
    """Train one run in its own folder: checkpoints, metrics.csv, images/, run.log, config.yaml.

    Args:
        config: What to train.
        run_dir: Folder of the run; made when missing.
        hooks: Called after each epoch, after the checkpoints are on disk.
        resume: Continue from `last.pt` of this folder when it is there; else what an earlier run left there is deleted. That
            it is of this configuration was made sure by who calls (`find_run`; a study compares its own).

    Raises:
        UserError: Bad configuration, data, checkpoint or device.
        NonFiniteError: The run diverged; the checkpoints hold the last good epoch.
    """
    _require_device(config)  # before minutes are spent on data
    run_dir = Path(run_dir)
    start = resume_point(run_dir) if resume else None
    if start is None:
        clear_traces(run_dir)
    with _run_log(run_dir), cpu_threads(config.training.threads):
        _write_config(config, run_dir / "config.yaml")
        stage = build_stage(config)
        trainer = Trainer(stage, config.training, config.optim, run_dir, hooks, config.model_dump(mode="json"))
        return trainer.fit(resume=start)


def frozen_digests() -> dict[str, str]:
    """First twelve digits of the sha256 of the weights of guide and judge, for reports."""
    return {
        name: hashlib.sha256((WEIGHTS / f"{name}.safetensors").read_bytes()).hexdigest()[:12]
        for name in ("guide", "judge")
    }


def _write_config(config: RunConfig, path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(dump_yaml(config.model_dump(mode="json")), encoding="utf-8")


@contextmanager
def _run_log(run_dir: Path) -> Iterator[None]:
    """Copy the package's log lines to `run.log` while a run lasts."""
    run_dir.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(run_dir / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("gazegaussian")
    package.addHandler(handler)
    level = package.level
    package.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads for a while; None leaves their number alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
