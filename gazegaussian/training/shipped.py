"""Packs a trained GazeGaussian into one small file: `python -m gazegaussian.training.shipped CHECKPOINT`.

Without `--out` the file becomes the model that comes with the program, which every command knows as `demo`. Its header says
how it was trained: command, seed, hours, git commit, data. Paths of the machine that trained it are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gazegaussian.config import DataConfig
from gazegaussian.data.synthetic.folder import SETTINGS_FILE
from gazegaussian.errors import CheckpointError
from gazegaussian.training.checkpoint_files import DEMO_FILE
from gazegaussian.training.checkpoints import contents_of, load_checkpoint
from gazegaussian.training.packed import SUFFIX, write_packed
from gazegaussian.utils.yaml_files import read_json

logger = logging.getLogger(__name__)

LARGEST_FILE = 10_000_000  # bytes: it lies in git
_SYNTHETIC = {
    "people": "people",
    "size": "image_size",
    "seed": "synthetic_seed",
    "frames": "frames",
    "cameras": "cameras",
}


def pack(
    checkpoint: Path, out: Path, command: str, commit: str | None = None, hours: float | None = None
) -> dict[str, Any]:
    """Pack a GazeGaussian checkpoint.

    Args:
        checkpoint: A `best.pt`.
        out: A `.safetensors` file.
        command: That trained it.
        commit: Of the program that trained it; None takes that of the files at hand.
        hours: That training took; None adds up the epochs that the checkpoint knows of.

    Returns:
        Where it comes from, as the file's header says it.

    Raises:
        CheckpointError: It cannot be packed.
    """
    if out.suffix != SUFFIX:
        raise CheckpointError(f"--out must name a {SUFFIX} file, not {out}.")
    content = load_checkpoint(checkpoint, "gazegaussian")
    with contents_of(checkpoint):
        config, data = _without_paths(content["config"])
        origin = {
            "command": command,
            "seed": config["training"]["seed"],
            "epochs": len(content["history"]),
            "best": content["best"],
            "hours": hours or round(sum(row["seconds"] for row in content["history"]) / 3600, 2),
            "commit": commit or _commit(),
            "data": data,
            "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        }
        weights = {name: value for name, value in content["model"].items() if name.startswith("model.")}
    write_packed(out, {**content, "config": config, "model": weights, "origin": origin})
    return origin


def _without_paths(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replace a folder of synthetic heads by their settings, other paths by names, and leave out earlier checkpoints.

    Returns:
        The configuration, and a description of the data.
    """
    data = dict(config["data"])
    described = {name: data[field] for name, field in _SYNTHETIC.items()}
    if data["root"] is not None:
        described = _settings(Path(data["root"]))
        data["root"] = None if described else Path(data["root"]).name
        data |= {field: described[name] for name, field in _SYNTHETIC.items() if name in described}
        described = described or {"folder": data["root"]}
    data = DataConfig.model_validate(data).model_dump(mode="json")
    return {**config, "data": data, "init_from": None, "meshhead_checkpoint": None}, described


def _settings(root: Path) -> dict[str, Any]:
    """Settings of a folder of synthetic heads; of other data none."""
    path = root / SETTINGS_FILE
    return read_json(path) if path.is_file() else {}


def _commit() -> str:
    """Commit of the files at hand, marked where they differ from it."""
    args = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main(arguments: list[str] | None = None) -> None:
    """Pack and say how large the file is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--command", required=True, help="that trained it")
    parser.add_argument("--commit", help="of the program that trained it [of the files at hand]")
    parser.add_argument("--hours", type=float, help="that training took [of the epochs that the checkpoint knows of]")
    parser.add_argument("--out", type=Path, default=DEMO_FILE, help=f"[{DEMO_FILE}]")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    origin = pack(given.checkpoint, given.out, given.command, given.commit, given.hours)
    size = given.out.stat().st_size
    logger.info("%s", json.dumps(origin, indent=1))
    logger.info("%s: %.1f MB", given.out, size / 1e6)
    if size > LARGEST_FILE:
        logger.warning("it is to lie in git: expected %.0f MB at most", LARGEST_FILE / 1e6)


if __name__ == "__main__":
    main()
