"""What a study ran on: versions, device, commit, networks that measured. For the report; nothing here is secret.

What a study has stored is read without torch, so that is imported where it is asked.
"""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gazegaussian.config import DataConfig, GazeGaussianRun, MeshHeadRun, RunConfig
from gazegaussian.stages import stage_spec
from gazegaussian.utils.configs import IN_REPOSITORY
from gazegaussian.utils.counts import counted
from gazegaussian.utils.yaml_files import read_json
from helpers.utils.files import identify, write_json
from helpers.utils.paths import ROOT

PACKAGES = ("torch", "optuna", "numpy", "warp-lang", "plotly", "pydantic")
FILE = "environment.json"
CODE = ("--", ".", ":(exclude)notebooks")  # a notebook that was run and saved changes no result


def environment(config: RunConfig | None = None) -> dict[str, str]:
    """Describe this machine and this code.

    Args:
        config: The run configuration of a study, for device, data, seed and networks.

    Returns:
        Values by name, in the order to show them.
    """
    described = {"code": git_commit(), "python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            described[package] = "not installed"
    described["device"] = device_name(config.training.device if config else "auto")
    if config is not None:
        described |= _data(config)
        described["training seed"] = str(config.training.seed)
        described |= _stage(config)
    return described


def store_environment(run_dir: Path, config: RunConfig) -> None:
    """Write where a training runs into its folder, `environment.json`, for those who look at it later."""
    write_json(run_dir / FILE, environment(config))


def stored_environment(run_dir: Path) -> dict[str, str]:
    """Where a training ran, as its folder says; empty when it does not."""
    path = run_dir / FILE
    if not path.is_file():
        return {}
    content = read_json(path)
    return {str(name): str(value) for name, value in content.items()} if isinstance(content, dict) else {}


def device_name(device: str) -> str:
    """Name the device that `auto`, `cpu` or `cuda` means here."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = counted(torch.get_num_threads(), "thread")
    return f"CPU ({platform.processor() or platform.machine()}, {threads})"


def _data(config: RunConfig) -> dict[str, str]:
    data = config.data
    if not isinstance(data, DataConfig):
        return {"data": str(data.root) if data.root else data.model_dump_json()}
    views = f"{counted(data.frames, 'frame')} each, {counted(data.cameras, 'camera')} a frame"
    made = f"synthetic heads: {counted(data.people, 'person', 'people')}, {views}, seed {data.synthetic_seed}"
    return {"data": str(data.root) if data.root else made, "image size": f"{data.image_size} px"}


def _stage(config: RunConfig) -> dict[str, str]:
    """Frozen networks of a stage of this repository; the code of a stage from elsewhere, which no commit of ours names."""
    if isinstance(config, MeshHeadRun | GazeGaussianRun):
        return {"networks": networks(config)}
    source = stage_spec(config.stage).source
    if source is None or not source.is_file():
        return {"stage code": f"{config.stage}, from no file"}
    return {"stage code": f"{source.name} (sha256 {identify(source)['sha256'][:12]})"}


def networks(config: MeshHeadRun | GazeGaussianRun) -> str:
    """Say which frozen networks guide and which measure, by file and digest."""
    if config.stage == "meshhead":
        return "none: pictures and meshes are compared directly"
    from gazegaussian.build import frozen_digests

    digests = frozen_digests()
    return (
        f"losses: guide.safetensors (sha256 {digests['guide']}); metrics: judge.safetensors (sha256 {digests['judge']}), "
        "both trained here on synthetic people; no LPIPS"
    )


def git_commit() -> str:
    """Commit of this code, marked when files other than notebooks differ from it; `unknown` outside a repository."""
    if not IN_REPOSITORY:  # whatever repository the environment lies in is not this one's
        return f"gazegaussian-studies {version('gazegaussian-studies')}, installed"
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for args in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no", *CODE])
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown (no git repository)"
    return f"{commit} with local changes" if changes else commit
