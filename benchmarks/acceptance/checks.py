"""The phases that are no tests and no benchmarks: `python -m benchmarks.acceptance.checks NAME OUT [--small]`.

Each prints what it found as lines that begin with RESULT and fails with an error.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from optuna.trial import TrialState

import helpers
from benchmarks.acceptance.workplace import (
    call,
    call_of,
    small_data,
    small_files,
    small_study,
    stages_on,
    train_in_little_memory,
)
from gazegaussian.build import train_run
from gazegaussian.geometry.rotations import full_precision
from gazegaussian.metrics import validation_loss, validation_parts
from gazegaussian.models.frozen import load_frozen
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.training.step import autocast
from gazegaussian.utils.driver import driver_version
from gazegaussian.utils.warp_setup import require_device, wp
from helpers.results.attributes import REASON

DEVICE = torch.device("cuda")
SINGLE = 5e-3  # of the largest gradient: sums in another order, and pixels on an edge that change sides
HALF = 0.2  # of loss terms: half precision keeps three digits of each of many products


def say(**result: Any) -> None:
    """Print a row."""
    print("RESULT " + json.dumps(result), flush=True)


def machine(out: Path, small: bool) -> None:
    """Versions, device, driver, precision; Warp must see the device that torch sees."""
    require_device(DEVICE)
    capability = torch.cuda.get_device_capability()
    free, total = torch.cuda.mem_get_info()
    say(python=platform.python_version(), torch=torch.__version__, cuda=torch.version.cuda, warp=wp.config.version)
    say(device=torch.cuda.get_device_name(), driver=driver_version(), capability=".".join(map(str, capability)))
    say(
        precision="bf16" if capability >= (8, 0) else "fp16",
        memory_gb=round(total / 1e9, 1),
        free_gb=round(free / 1e9, 1),
    )


def parity(out: Path, small: bool) -> None:
    """One whole step of both stages on CPU and CUDA: terms, gradients, and what half precision makes of the terms."""
    expected = [_step(stage, "cpu", torch.float32) for stage in stages_on("cpu", out)]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        on_cuda: list[MeshHeadStage | GazeGaussianStage] = list(stages_on("cuda", out))
        for stage, (terms, gradients) in zip(on_cuda, expected, strict=True):
            measured, slopes = _step(stage, "cuda", dtype)
            off = max(abs(measured[name] - value) / max(abs(value), 0.05) for name, value in terms.items())
            largest = max(gradient.abs().max() for gradient in gradients.values())
            steep = max(float((slopes[name] - gradient).abs().max() / largest) for name, gradient in gradients.items())
            say(stage=stage.name, precision=str(dtype)[6:], terms_off=f"{off:.1e}", gradients_off=f"{steep:.1e}")
            limit = SINGLE if dtype == torch.float32 else HALF
            assert off <= limit, (stage.name, dtype, measured, terms)
            assert dtype != torch.float32 or steep <= SINGLE, (stage.name, steep)


def _step(stage: Any, device: str, dtype: torch.dtype) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Loss terms and gradients of one step."""
    batch = next(iter(stage.loader)).to(device)
    with autocast(torch.device(device), dtype):
        terms = stage.losses(batch, 0)
    torch.stack(list(terms.values())).sum().backward()
    named = stage.module.named_parameters()
    gradients = {name: p.grad.detach().float().cpu() for name, p in named if p.grad is not None}
    return {name: value.item() for name, value in terms.items()}, gradients


def studies(out: Path, small: bool) -> None:
    """Both studies, isolated and audited: the quick ones, or small ones."""
    for stage, name in (("meshhead", "mesh"), ("gazegaussian", "gaze")):
        if small:
            call(*small_study(out, stage))
        else:
            call("study", stage, "--device", "cuda", "--epochs", "2", "--n-trials", "2", "--out", out / "studies")
            name = f"{stage}_quick"
        _require_complete(out / "studies" / name, 2)


def _require_complete(folder: Path, trials: int) -> None:
    study = helpers.load_study(folder)
    states = [trial.state.name for trial in study.trials]
    say(study=folder.name, states=" ".join(states), hardware=json.dumps(study.trials[-1].user_attrs.get("hardware")))
    assert states.count("COMPLETE") >= trials, states


def kill(out: Path, small: bool) -> None:
    """A study that is killed in its first trial goes on, and ends with all trials."""
    study_args = small_study(out, "meshhead", "--study-name", "killed", "--epochs", "6")
    folder = out / "studies" / "killed"
    process = subprocess.Popen(call_of(*study_args), start_new_session=True)
    while process.poll() is None and not list(folder.glob("*/last.pt")):
        time.sleep(0.1)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)  # its child sees that it has gone
    call(*study_args)
    _require_complete(folder, 2)


def precision(out: Path, small: bool) -> None:
    """A training of one precision goes on in the other."""
    for before, after in (("fp32", "fp16"), ("fp16", "fp32")):
        folder = out / f"precision_{before}_{after}"
        for epochs, name in ((2, before), (4, after)):
            text = (
                (out / "mesh.yaml")
                .read_text(encoding="utf-8")
                .replace("epochs: 2", f"epochs: {epochs}, precision: {name}")
            )
            path = out / f"mesh_{name}_{epochs}.yaml"
            path.write_text(text, encoding="utf-8")
            config = helpers.make_config("meshhead", config=path, data=small_data(out), device="cuda")
            result = train_run(config, folder, resume=epochs == 4)
            assert len(result.history) == epochs
        say(first=before, then=after, best=round(result.best_metric, 4))


def memory(out: Path, small: bool) -> None:
    """A trial that runs out of memory fails with its reason, and the next one completes."""
    spec = helpers.default_spec(
        "meshhead",
        config=out / "mesh.yaml",
        study=out / "mesh_study.yaml",
        data=small_data(out),
        device="cuda",
        study_name="memory",
        out=out / "studies",
    )
    study = helpers.run(replace(spec, train=train_in_little_memory), figures=False, audit=False)
    states = [trial.state for trial in study.trials]
    reason = study.trials[0].user_attrs.get(REASON, "")
    say(states=" ".join(state.name for state in states), reason=reason[:160])
    assert states[:2] == [TrialState.FAIL, TrialState.COMPLETE], states
    assert "out of memory" in reason


def evaluate(out: Path, small: bool) -> None:
    """The paper's protocol on the study's best checkpoint."""
    name = "gaze" if small else "gazegaussian_quick"
    best = helpers.best_trial(helpers.load_study(out / "studies" / name))
    assert best is not None, "the study has no finished trial"
    call(
        "evaluate",
        best.user_attrs["best_checkpoint"],
        "--data",
        small_data(out),
        "--device",
        "cuda",
        "--pairs",
        "8",
        "--out",
        out / "evaluation",
    )
    assert list((out / "evaluation").iterdir())


def tf32(out: Path, small: bool) -> None:
    """The validation metric must not depend on whether TF32 is allowed outside."""
    _, stage = stages_on("cuda", out)
    judge = load_frozen("judge", DEVICE)
    batch = stage.validation[0].to(DEVICE)
    losses = []
    for allowed in (False, True):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
        with torch.no_grad(), full_precision(batch.image):
            noisy = (batch.image + 0.1 * torch.sin(50 * batch.image)).clamp(0, 1)
            losses.append(validation_loss(validation_parts(noisy, batch, judge)).mean().item())
    say(off=losses[0], on=losses[1])
    assert abs(losses[0] - losses[1]) < 1e-6, losses


CHECKS: dict[str, Callable[[Path, bool], None]] = {
    check.__name__: check for check in (machine, parity, studies, kill, precision, memory, evaluate, tf32)
}


def main() -> None:
    """Run one check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", choices=sorted(CHECKS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    small_data(args.out)
    small_files(args.out)
    CHECKS[args.name](args.out, args.small)


if __name__ == "__main__":
    main()
