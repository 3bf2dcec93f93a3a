"""What a run cost: counts of rows through each component, forwards and backwards, wall time and peak memory."""

import time
from collections import Counter

import attrs
import torch
from torch import Tensor


@attrs.define
class Ledger:
    """Counts of *rows* (one image's worth of work) by component: "text", "null" (the denoiser's branches), "decode", "look-ahead",
    "reward", each as "<component>" for forwards and "<component>.backward"."""

    counts: Counter[str] = attrs.field(factory=Counter)
    started: float = attrs.field(factory=time.perf_counter)
    seconds: float = 0.0
    peak_bytes: int | None = None

    def forward(self, component: str, output: Tensor, rows: int) -> Tensor:
        """Note a forward of so many rows, and its backward if one comes."""
        self.counts[component] += rows
        if output.requires_grad:
            output.register_hook(lambda _gradient: self._backward(component, rows))
        return output

    def _backward(self, component: str, rows: int) -> None:
        self.counts[f"{component}.backward"] += rows

    @property
    def evaluations(self) -> int:
        """Rows through the denoiser, forwards and backwards together."""
        return sum(self.counts[name] for name in ("text", "null", "text.backward", "null.backward"))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def close(self, device: torch.device) -> None:
        """Stop the clock."""
        self.seconds = self.elapsed
        if device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(device)

    def __str__(self) -> str:
        parts = [f"{name} {count}" for name, count in sorted(self.counts.items())]
        peak = f", peak {self.peak_bytes / 2**20:.0f} MiB" if self.peak_bytes is not None else ""
        return f"{self.seconds:.1f} s, rows: {', '.join(parts)}{peak}"
