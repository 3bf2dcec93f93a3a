"""The cost of a run: rows through each network, FLOPs, and the wall time and peak memory of each phase."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from tta_core.values.typing import frozen

BRANCHES = ("text", "null")


@runtime_checkable
class Meter(Protocol):
    """Measures peak memory on one device."""

    def restart(self) -> None:
        """Reset the peak to the memory in use."""
        ...

    def finish(self) -> int:
        """The peak since the restart, in bytes; it waits for all queued work."""
        ...


@frozen
class CudaMeter:
    """Measures the peak of torch's allocator: all memory that torch has allocated on that device in this process."""

    device: torch.device

    def restart(self) -> None:
        """Wait for the device, then reset the peak."""
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)

    def finish(self) -> int:
        """Wait for the device, then read the allocator's peak, in bytes."""
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device)


@frozen
class Phase:
    """Seconds of one phase, and its peak memory in bytes if it was measured."""

    seconds: float
    peak_bytes: int | None = None


@attrs.define
class Ledger:
    """Counts of *rows* (the work for one image) by component: "text", "null" (the denoiser's branches), "decode", "look-ahead" and
    "reward". "<component>" counts forward passes, "<component>.backward" backward passes.

    Attributes:
        calls: how often a network was called, by component ("denoiser" for both branches), with ".backward" as above.
        reused: the rows among the counts that the baseline had already computed, so that the method did not compute them again.
        prices: FLOPs of one row, by the names of the counts; empty if FLOPs are not counted (memory policy "counted").
        meter: measures peak memory; None: it is not measured.
        phases: those of "baseline", "method" and "result" that the run reached.
        retries: how often the run was started again with less memory after it ran out of memory.
        started: the start on the clock of `time.perf_counter`, in seconds.
    """

    counts: Counter[str] = attrs.field(factory=Counter)
    calls: Counter[str] = attrs.field(factory=Counter)
    reused: Counter[str] = attrs.field(factory=Counter)
    prices: Mapping[str, float] = attrs.field(factory=dict, repr=False)
    meter: Meter | None = attrs.field(default=None, repr=False)
    phases: dict[str, Phase] = attrs.field(factory=dict)
    retries: int = 0
    started: float = attrs.field(factory=time.perf_counter)

    def fresh(self) -> "Ledger":
        """An empty ledger with the same prices and meter, whose clock starts now."""
        return Ledger(prices=self.prices, meter=self.meter)

    def restarted(self) -> "Ledger":
        """This ledger with its clock reset."""
        self.started = time.perf_counter()
        return self

    def forward(self, component: str, output: Tensor, rows: int) -> Tensor:
        """Count a forward pass of so many rows, and its backward pass if there is one."""
        self.begin((component,), rows)
        return self.end((component,), output, rows)

    def begin(self, components: tuple[str, ...], rows: int) -> None:
        """Count one call with so many rows of each component, before it runs, because a checkpoint's recomputation may stop inside it."""
        self._note(components, rows, "")

    def end(self, components: tuple[str, ...], output: Tensor, rows: int) -> Tensor:
        """Count the backward pass of the call, if there is one."""
        if output.requires_grad:
            output.register_hook(lambda _gradient: self._note(components, rows, ".backward"))
        return output

    def reuse(self, component: str, rows: int) -> None:
        """Count rows that plain sampling had already computed; without a baseline the method would compute them."""
        self.counts[component] += rows
        self.reused[component] += rows

    def _note(self, components: tuple[str, ...], rows: int, suffix: str) -> None:
        for component in components:
            self.counts[component + suffix] += rows
        self.calls[("denoiser" if components[0] in BRANCHES else components[0]) + suffix] += 1

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase and measure its peak memory, also if it ends with an exception; a second phase of the same name adds to the
        first."""
        if self.meter is not None:
            self.meter.restart()
        begun = time.perf_counter()
        try:
            yield
        finally:
            peak = self.meter.finish() if self.meter is not None else None
            before = self.phases.get(name, Phase(0.0))
            peaks = [bytes_ for bytes_ in (peak, before.peak_bytes) if bytes_ is not None]
            self.phases[name] = Phase(before.seconds + time.perf_counter() - begun, max(peaks, default=None))

    @property
    def evaluations(self) -> int:
        """Rows through the denoiser, forward and backward passes together."""
        return sum(self.counts[name] for name in ("text", "null", "text.backward", "null.backward"))

    @property
    def flops(self) -> float | None:
        """Floating-point operations so far, a multiply-add counting as two; None if FLOPs are not counted."""
        return sum(self.prices.get(name, 0.0) * count for name, count in self.counts.items()) if self.prices else None

    @property
    def seconds(self) -> float:
        """Seconds of the method and of decoding its result, without the baseline."""
        return sum(phase.seconds for name, phase in self.phases.items() if name != "baseline")

    @property
    def peak_bytes(self) -> int | None:
        """The highest peak of all phases, in bytes; None if it was not measured."""
        return max((phase.peak_bytes for phase in self.phases.values() if phase.peak_bytes is not None), default=None)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def record(self) -> dict[str, object]:
        """Everything as plain data for JSON."""
        return {
            "seconds": self.seconds,
            "rows": dict(self.counts),
            "calls": dict(self.calls),
            "reused": dict(self.reused),
            "flops": self.flops,
            "peak_bytes": self.peak_bytes,
            "phases": {name: {"seconds": phase.seconds, "peak_bytes": phase.peak_bytes} for name, phase in self.phases.items()},
            "retries": self.retries,
        }

    def __str__(self) -> str:
        parts = [f"{name} {count}" for name, count in sorted(self.counts.items())]
        work = f", {self.flops / 1e12:.3g} TFLOP" if self.flops is not None else ""
        peak = f", peak {self.peak_bytes / 2**20:.0f} MiB" if self.peak_bytes is not None else ""
        return f"{self.seconds:.1f} s, rows: {', '.join(parts)}{work}{peak}"
