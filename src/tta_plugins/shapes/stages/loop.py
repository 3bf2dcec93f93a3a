"""The training loop of all stages: seeded and resumable, with a cosine schedule and averaged weights."""

import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
from attrs import define, field, frozen
from torch import Tensor, nn


@frozen
class Plan:
    """The length and the learning rate of a stage. `average` is the decay of the averaged weights."""

    steps: int
    batch: int
    rate: float
    warmup: int = 100
    decay: float = 0.01
    average: float = 0.999
    save_every: float = 180.0  # seconds
    keep: bool = False  # keep the averaged weights of every save, to select among them

    def rate_at(self, step: int) -> float:
        """The learning rate: a linear warm-up, then a cosine down to 2 % of the rate."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.rate * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))


@define
class Loop:
    """Trains one module by a plan. `file` has everything that is needed to continue after an interruption."""

    name: str
    module: nn.Module
    plan: Plan
    file: Path
    seed: int
    step: int = 0
    smooth: dict[str, Tensor] = field(factory=dict)

    def run(self, losses: Callable[[random.Random, int], dict[str, Tensor]], until: int | None = None) -> None:
        """Train on `losses(rng, step)`: the entry "loss" is minimised, the others are printed.

        At the end the module has the averaged weights. `until` stops earlier than the plan, as an interruption does.
        """
        torch.manual_seed(self.seed)
        optimizer = torch.optim.AdamW(self.module.parameters(), lr=self.plan.rate, weight_decay=self.plan.decay)
        self.smooth = {key: value.detach().clone() for key, value in self.module.state_dict().items()}
        self._resume(optimizer)
        started, saved, first = time.monotonic(), time.monotonic(), self.step
        end = self.plan.steps if until is None else min(until, self.plan.steps)
        while self.step < end:
            for group in optimizer.param_groups:
                group["lr"] = self.plan.rate_at(self.step)
            torch.manual_seed(self.seed * 1_000_003 + self.step)
            values = losses(random.Random(self.seed * 1_000_003 + self.step), self.step)
            optimizer.zero_grad(set_to_none=True)
            values["loss"].backward()
            nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            optimizer.step()
            self.step += 1
            self._average()
            if self.step % 50 == 0 or self.step == end:
                each = (time.monotonic() - started) / (self.step - first)
                shown = " ".join(f"{key} {value.item():.4f}" for key, value in values.items())
                print(f"{self.name} {self.step}/{self.plan.steps} {shown} {each:.3f} s/step", flush=True)
            if time.monotonic() - saved > self.plan.save_every:
                self._save(optimizer)
                saved = time.monotonic()
        self._save(optimizer)
        self.module.load_state_dict(self.smooth)

    def _average(self) -> None:
        decay = min(self.plan.average, (1 + self.step) / (10 + self.step))
        for key, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.smooth[key].lerp_(value, 1 - decay)
            else:
                self.smooth[key].copy_(value)

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "step": self.step,
            "module": self.module.state_dict(),
            "smooth": self.smooth,
            "optimizer": optimizer.state_dict(),
        }
        partial = self.file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.file)
        if self.plan.keep:
            torch.save(self.smooth, self.file.with_name(f"{self.name}-{self.step:06d}.pt"))

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.file.exists():
            return
        state = torch.load(self.file, map_location=next(self.module.parameters()).device, weights_only=True)
        self.module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        self.smooth, self.step = state["smooth"], state["step"]
        print(f"{self.name}: resumed at step {self.step}", flush=True)
