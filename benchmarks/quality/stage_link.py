"""Does stage one's metric choose what stage two wants of a MeshHead?

    python -m benchmarks.quality.stage_link record FOLDER --count 24 [--part 0/2]
    python -m benchmarks.quality.stage_link report FOLDER

`record` trains MeshHeads of random configurations and the same GazeGaussian from each, with two seeds, and appends a line per
MeshHead to `FOLDER/stage_link-K.jsonl`; what is there already is passed over. Stage two starts from the last epoch's MeshHead,
whatever it is worth, so that no candidate metric is favoured. `report` ranks every quantity that was measured of a MeshHead
by Spearman's correlation with stage two's result (mean over the seeds of the best `val_loss`): chosen on the even-numbered
MeshHeads, reported on the odd ones, each over all and over the better half, and what is lost by choosing so. Two seeds of stage
two do not agree wholly either: how far they do bounds what a metric can reach, and the first epochs of one seed against the
result of the other show what a short stage two would be worth as the metric of stage one.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gazegaussian.build import train_run
from gazegaussian.config import RunConfig, load_run, with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError
from gazegaussian.training.run_folder import find_run
from gazegaussian.training.trainer import TrainResult
from helpers.search.parameters import Categorical
from helpers.search.space import baseline, load_study_file
from helpers.utils.paths import run_file, study_file_of

logger = logging.getLogger(__name__)

LR_RANGE = (1e-4, 1e-2)  # below, a quick MeshHead stays the ellipsoid that it starts as
SEEDS = (0, 1)
LARGER_IS_BETTER = ("silhouette_iou", "boundary_f", "ssim")
SHIPPED = ("l1", "val_loss")  # metrics of studies of stage one, now and before
NOT_CANDIDATES = ("epoch", "seconds", "train_seconds")
Row = dict[str, Any]


def draw(seed: int, index: int) -> dict[str, Any]:
    """Searched parameters of MeshHead `index`: the baseline, then random ones with lr from `LR_RANGE`."""
    config = load_run(run_file("meshhead"), "meshhead")
    study = load_study_file(study_file_of("meshhead"), "meshhead")
    if index == 0:
        return baseline(study, config)
    rng = np.random.default_rng([seed, index])
    values: dict[str, Any] = {}
    for name, space in study.parameters.items():
        if name == "lr":
            values[name] = float(np.exp(rng.uniform(*np.log(LR_RANGE))))
        elif isinstance(space, Categorical):
            values[name] = space.choices[rng.integers(len(space.choices))]
        else:
            raise ConfigError(f"{name}: expected a categorical parameter beside lr, got {space}.")
    return values


def measure(index: int, folder: Path, seed: int, epochs: int | None) -> Row:
    """Train a MeshHead and GazeGaussians from it.

    Args:
        index: Of the MeshHead.
        folder: Where trainings keep their checkpoints.
        seed: Of the random configurations.
        epochs: Of stage two; None takes the quick configuration's.

    Returns:
        Parameters, what the last epoch of stage one measured, and of stage two by seed the best epoch and the `val_loss` of all.
    """
    params = draw(seed, index)
    row: Row = {"index": index, "params": params, "stage_two": []}
    config = with_parameters(load_run(run_file("meshhead"), "meshhead"), params)
    try:
        mesh = _resumed(config, folder / f"mesh_{index:03d}")
    except NonFiniteError as error:
        return {**row, "failed": str(error)}
    row["mesh"] = {name: value for name, value in mesh.history[-1].items() if name not in NOT_CANDIDATES}
    run = load_run(run_file("gazegaussian"), "gazegaussian")
    run = run.model_copy(update={"meshhead_checkpoint": mesh.last_checkpoint.resolve()})
    for training_seed in SEEDS:
        own = {"seed": training_seed, **({"epochs": epochs} if epochs else {})}
        result = _resumed(with_parameters(run, own), folder / f"gaze_{index:03d}_{training_seed}")
        best = result.history[result.best_epoch]
        measured = {name: best[name] for name in ("val_loss", "psnr", "gaze_error_deg")}
        row["stage_two"].append({**measured, "epochs": [epoch["val_loss"] for epoch in result.history]})
    return row


def _resumed(config: RunConfig, folder: Path) -> TrainResult:
    find_run(config, folder)  # rejects a training of another configuration
    return train_run(config, folder, resume=True)


def read(folder: Path) -> list[Row]:
    """Recorded rows in the order of their index."""
    lines = [line for file in sorted(folder.glob("stage_link*.jsonl")) for line in file.read_text().splitlines()]
    return sorted((json.loads(line) for line in lines), key=lambda row: row["index"])


def record(folder: Path, count: int, part: tuple[int, int], seed: int, epochs: int | None) -> None:
    """Measure what is not recorded yet.

    Raises:
        ConfigError: The folder holds MeshHeads of another seed, or a training of another configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = {row["index"]: row["params"] for row in read(folder)}
    for index in range(part[0], count, part[1]):
        if index in done:
            if done[index] != draw(seed, index):
                raise ConfigError(f"{folder} holds the MeshHeads of another --seed than {seed}; give another FOLDER.")
            continue
        row = measure(index, folder, seed, epochs)
        with (folder / f"stage_link-{part[0]}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        logger.warning("MeshHead %d: %s", index, json.dumps(row["stage_two"]))


def candidates(rows: Sequence[Row]) -> dict[str, NDArray[np.floating]]:
    """Every measured quantity of stage one, signed so that smaller is better. name -> [N]."""
    names = [name for name in rows[0]["mesh"] if not name.startswith(("loss_", "train_"))]
    columns = {name: np.array([row["mesh"][name] for row in rows]) for name in names}
    if {"l1", "ssim", "perceptual"} <= columns.keys():  # mean of the parts = part of the means
        columns["image_loss"] = columns["l1"] + 0.1 * (1 - columns["ssim"]) + 0.1 * columns["perceptual"]
    if {"l1", "silhouette_iou", "boundary_f"} <= columns.keys():
        columns["l1 + 1 - silhouette_iou"] = columns["l1"] + 1 - columns["silhouette_iou"]
        columns["l1 + 0.3 (1 - boundary_f)"] = columns["l1"] + 0.3 * (1 - columns["boundary_f"])
    return {name: -values if name in LARGER_IS_BETTER else values for name, values in columns.items()}


def correlations(values: NDArray[np.floating], target: NDArray[np.floating]) -> tuple[float, float, float]:
    """Spearman over all, over the better half by stage two, and what choosing by `values` loses of stage two's best.

    Args:
        values: Of the candidate metric, smaller is better. [N]
        target: Stage two's result. [N]
    """
    better = np.argsort(target)[: (len(target) + 1) // 2]
    lost = target[values.argmin()] / target.min() - 1
    return spearmanr(values, target)[0], spearmanr(values[better], target[better])[0], float(lost)


def report(folder: Path) -> None:
    """Print the table."""
    rows = [row for row in read(folder) if "failed" not in row]
    target = np.array([np.mean([run["val_loss"] for run in row["stage_two"]]) for row in rows])
    two = np.array([[run["val_loss"] for run in row["stage_two"]] for row in rows])
    histories = np.array([[run["epochs"] for run in row["stage_two"]] for row in rows])  # [N, seeds, epochs]
    even = np.array([row["index"] % 2 == 0 for row in rows])
    print(f"{len(rows)} MeshHeads; stage two from {target.min():.4f} to {target.max():.4f}")
    agreement = spearmanr(two[:, 0], two[:, 1])[0]
    bound = np.sqrt(2 * agreement / (1 + agreement))  # of a metric without noise, by the Spearman-Brown formula
    print(f"between the seeds of stage two: Spearman {agreement:.2f}, so that no metric is expected above {bound:.2f}")
    print(f"{'metric':26}  chosen: all  better half  lost   reported: all  better half  lost")
    table = []
    for name, values in candidates(rows).items():
        table.append((name, correlations(values[even], target[even]), correlations(values[~even], target[~even])))
    for name, chosen, held_out in sorted(table, key=lambda line: -line[1][0]):
        cells = [f"{a:12.2f} {b:12.2f} {c:6.1%}" for a, b, c in (chosen, held_out)]
        print(f"{name:26}" + "  ".join(cells))
    print("against the result of one seed of stage two, mean over both: all, better half, lost")
    rivals = {name: np.stack([values, values], 1) for name, values in candidates(rows).items() if name in SHIPPED}
    rivals |= {f"stage two, epoch {epoch + 1}": histories[..., epoch] for epoch in range(histories.shape[-1])}
    for name, values in rivals.items():
        all_seeds = [correlations(values[:, seed], two[:, 1 - seed]) for seed in (0, 1)]
        print("{:26}{:12.2f} {:12.2f} {:6.1%}".format(name, *np.mean(all_seeds, axis=0)))


def main() -> None:
    """Parse, record or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "report"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--part", default="0/1", help="K/N: this process takes every Nth MeshHead")
    parser.add_argument("--seed", type=int, default=0, help="of the random configurations")
    parser.add_argument("--epochs", type=int, help="of stage two")
    arguments = parser.parse_args()
    if arguments.action == "report":
        report(arguments.folder)
        return
    first, step = (int(number) for number in arguments.part.split("/"))
    record(arguments.folder, arguments.count, (first, step), arguments.seed, arguments.epochs)


if __name__ == "__main__":
    main()
