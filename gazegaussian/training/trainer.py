"""The only epoch loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gazegaussian.config import StageOptim, StageTraining
from gazegaussian.errors import CheckpointError, ConfigError, NonFiniteError
from gazegaussian.training.builtin_hooks import EarlyStopping, EpochLine, MetricsFile, PreviewImages
from gazegaussian.training.checkpoints import contents_of, load_checkpoint, save_checkpoint
from gazegaussian.training.hooks import Hook
from gazegaussian.training.stage import Stage, to_device
from gazegaussian.training.step import autocast, optimisation_step, repeatable, resolve_device, resolve_precision
from gazegaussian.utils.interrupts import raise_if_interrupted
from gazegaussian.utils.progress import progress

logger = logging.getLogger(__name__)

TRAINING_TERM = "loss_"  # how the names of the terms of the training loss begin


@dataclass(frozen=True)
class TrainResult:
    """What a finished run leaves."""

    best_metric: float
    best_epoch: int
    history: list[dict[str, float]]
    best_checkpoint: Path
    last_checkpoint: Path
    stop_reason: str | None = None


class Trainer:
    """Trains a stage: epochs of steps, validation, checkpoints, hooks.

    Args:
        stage: Model, data, losses and validation metric.
        training: Epochs, device, precision, monitored metric.
        optim: Learning rates and clipping.
        run_dir: Folder of this run; `best.pt`, `last.pt`, `metrics.csv` and `images/` land here.
        hooks: Called after the built-in ones, in order.
        config: The run configuration as plain values, stored in every checkpoint.
    """

    def __init__(
        self,
        stage: Stage,
        training: StageTraining,
        optim: StageOptim,
        run_dir: Path,
        hooks: Sequence[Hook] = (),
        config: dict[str, Any] | None = None,
    ) -> None:
        self.stage = stage
        self.config = training
        self.optim = optim
        self.run_dir = Path(run_dir)
        self.run_config = config or {}
        self.device = resolve_device(training.device)
        self.dtype = resolve_precision(training.precision, self.device)
        stage.to(self.device)
        groups = stage.parameter_groups(optim)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.history: list[dict[str, float]] = []
        self.best_metric = math.nan
        self.best_epoch = -1
        self.measured: frozenset[str] | None = None  # names, before the first epoch; None: the stage does not say
        self._stop_reason: str | None = None
        self.hooks: list[Hook] = [MetricsFile(), PreviewImages(), EpochLine(), EarlyStopping(), *hooks]

    @property
    def best_path(self) -> Path:
        """Checkpoint of the best epoch."""
        return self.run_dir / "best.pt"

    @property
    def last_path(self) -> Path:
        """Checkpoint of the last finished epoch."""
        return self.run_dir / "last.pt"

    def stop(self, reason: str) -> None:
        """Ask for a stop after the current epoch."""
        self._stop_reason = reason

    def fit(self, resume: Path | None = None) -> TrainResult:
        """Train until the last epoch or until a hook stops it.

        Args:
            resume: A `last.pt` of the same run to continue from; the continued run equals an uninterrupted one.

        Raises:
            NonFiniteError: A bad loss or gradient; the checkpoints hold the last good epoch.
            CheckpointError: `resume` cannot be used.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True)
        # A signal can come just as torch has switched gradients off, and would leave them off for what follows.
        with repeatable(self.device), torch.set_grad_enabled(torch.is_grad_enabled()):
            return self._fit(resume)

    def _fit(self, resume: Path | None) -> TrainResult:
        if resume is not None:
            self._restore(resume)
        else:
            self.stage.prepare()
        raise_if_interrupted()
        self._look_at_metrics()
        for hook in self.hooks:
            hook.on_fit_start(self)
        for epoch in range(len(self.history), self.config.epochs):
            if self._stop_reason:
                break
            self._run_epoch(epoch)
        self._require_an_update()
        result = TrainResult(
            self.best_metric, self.best_epoch, self.history, self.best_path, self.last_path, self._stop_reason
        )
        for hook in self.hooks:
            hook.on_fit_end(self, result)
        return result

    def _run_epoch(self, epoch: int) -> None:
        start = time.perf_counter()
        metrics = {"epoch": float(epoch), **self._train_epoch(epoch)}
        raise_if_interrupted()
        trained = time.perf_counter()
        self.stage.module.eval()
        with torch.no_grad(), autocast(self.device, self.dtype):
            metrics.update(self.stage.validate())
        raise_if_interrupted()
        self._require_monitor(metrics)
        self.scheduler.step()
        metrics["train_seconds"] = trained - start
        metrics["seconds"] = time.perf_counter() - start
        self.history.append(metrics)
        if self._improved(metrics[self.config.monitor]):
            self.best_metric = metrics[self.config.monitor]
            self.best_epoch = epoch
            save_checkpoint(self.best_path, self._state())
        save_checkpoint(self.last_path, self._state())
        for hook in self.hooks:
            hook.on_epoch_end(self, epoch, metrics)

    def _look_at_metrics(self) -> None:
        """Reject a monitored metric that is not measured before an epoch is spent on it; of a resumed run it was."""
        look = getattr(self.stage, "metric_names", None)
        if look is None or self.history:
            return
        self.stage.module.eval()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), autocast(self.device, self.dtype):
            self.measured = frozenset(look()) | {"epoch", "train_loss", "train_seconds", "seconds"}
        if not self.config.monitor.startswith(TRAINING_TERM):  # terms of the loss are known after a step
            self._require_monitor(self.measured)

    def _require_monitor(self, measured: Collection[str]) -> None:
        if self.config.monitor not in measured:
            known = ", ".join(sorted(measured))
            raise ConfigError(
                f"monitor {self.config.monitor!r} (of a study: metric) is not measured here; measured: {known}."
            )

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        self.stage.module.train()
        batches = self.stage.batches(epoch)
        sums: dict[str, torch.Tensor] = {}
        bar = progress(batches, f"epoch {epoch + 1}/{self.config.epochs}, batches", leave=False)
        steps = 0
        for batch in bar:
            raise_if_interrupted()
            moved = to_device(batch, self.device)

            def compute(batch: Any = moved) -> dict[str, torch.Tensor]:
                with autocast(self.device, self.dtype):
                    return self.stage.losses(batch, epoch)

            terms = optimisation_step(compute, self.parameters, self.optimizer, self.scaler, self.optim.max_grad_norm)
            steps += 1
            for name, value in terms.items():  # summed on the device: no synchronisation per step
                sums[name] = sums[name] + value if name in sums else value
        if steps == 0:
            raise ConfigError("the training split holds no usable image; check the data with `data check`.")
        means = {f"{TRAINING_TERM}{name}": (value / steps).item() for name, value in sums.items()}
        return {"train_loss": sum(means.values()), **means}

    def _require_an_update(self) -> None:
        """Reject a training whose every step fp16 skipped: it would end with the weights that it began with.

        Raises:
            NonFiniteError: No step was made.
        """
        counts = [state["step"] for state in self.optimizer.state.values() if "step" in state]
        if self.scaler.is_enabled() and counts and not torch.stack(counts).any():
            raise NonFiniteError(
                f"in fp16 no step had finite gradients (loss scale {self.scaler.get_scale():g} at the end). Use precision: "
                "fp32, or bf16 on a GPU of compute capability 8.0 or more"
            )

    def _improved(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best_epoch < 0:
            return True
        return value < self.best_metric if self.config.monitor_mode == "min" else value > self.best_metric

    def _decay(self, epoch: int) -> float:
        return float(self.optim.lr_decay ** (epoch / max(self.config.epochs - 1, 1)))

    def _state(self) -> dict[str, Any]:
        return {
            "stage": self.stage.name,
            "variant": self.stage.variant,
            "config": self.run_config,
            "architecture": self.stage.architecture(),
            "model": self.stage.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {"last_epoch": self.scheduler.last_epoch},
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "best": {"metric": self.best_metric, "epoch": self.best_epoch, "monitor": self.config.monitor},
            "rng": {
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            },
        }

    def _restore(self, path: Path) -> None:
        content = load_checkpoint(path, self.stage.name)
        if content["architecture"] != self.stage.architecture():
            raise CheckpointError(f"{path} was trained with other sizes; resume with the configuration it carries.")
        with contents_of(path):
            self.stage.module.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            if content["scaler"] and self.scaler.is_enabled():  # fp16 then and now; another precision has no scale
                self.scaler.load_state_dict(content["scaler"])
            self.history = list(content["history"])
            self.best_metric = content["best"]["metric"]
            self.best_epoch = content["best"]["epoch"]
            self.scheduler.last_epoch = content["scheduler"]["last_epoch"]
            for group, base in zip(self.optimizer.param_groups, self.scheduler.base_lrs, strict=True):
                group["lr"] = base * self._decay(self.scheduler.last_epoch)
            rng = content["rng"]
            torch.set_rng_state(rng["torch"])
            if self.device.type == "cuda" and len(rng["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(rng["cuda"])
        logger.info("resumed %s after epoch %d", path, len(self.history))
