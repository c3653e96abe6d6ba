"""What a study ran on: versions, device, commit, networks that measured. For the report; nothing here is secret.

What a study has stored is read without torch, so that is imported where it is asked.
"""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gazegaussian.config import RunConfig
from gazegaussian.utils.yaml_files import read_json
from helpers.utils.files import write_json
from helpers.utils.paths import ROOT

PACKAGES = ("torch", "optuna", "numpy", "warp-lang", "plotly", "pydantic")
FILE = "environment.json"


def environment(config: RunConfig | None = None) -> dict[str, str]:
    """Describe this machine and this code.

    Args:
        config: The run configuration of a study, for device, data, seed and networks.

    Returns:
        Values by name, in the order to show them.
    """
    found = {"code": git_commit(), "python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["device"] = device_name(config.training.device if config else "auto")
    if config is not None:
        data = config.data
        views = f"{data.frames} frames each, {data.cameras} cameras a frame"
        made = f"synthetic heads: {data.people} people, {views}, seed {data.synthetic_seed}"
        found["data"] = str(data.root) if data.root else made
        found["image size"] = f"{data.image_size} px"
        found["training seed"] = str(config.training.seed)
        found["networks"] = networks(config)
    return found


def store_environment(run_dir: Path, config: RunConfig) -> None:
    """Write where a training runs into its folder, `environment.json`, for those who look at it later."""
    write_json(run_dir / FILE, environment(config))


def stored_environment(run_dir: Path) -> dict[str, str]:
    """Where a training ran, as its folder says; empty when it does not."""
    path = run_dir / FILE
    if not path.is_file():
        return {}
    found = read_json(path)
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def device_name(device: str) -> str:
    """Name the device that `auto`, `cpu` or `cuda` means here."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"


def networks(config: RunConfig) -> str:
    """Say which frozen networks guide and which measure, by file and digest."""
    if config.stage == "meshhead":
        return "none: the metric is the stage's own loss with the published weights"
    from gazegaussian.build import frozen_digests

    digests = frozen_digests()
    return (
        f"losses: guide.safetensors (sha256 {digests['guide']}); metrics: judge.safetensors (sha256 {digests['judge']}), "
        "both trained here on synthetic people; no LPIPS"
    )


def git_commit() -> str:
    """Commit of this code, marked when files differ from it; `unknown` outside a repository."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown (no git repository)"
    return f"{commit} with local changes" if changes else commit
