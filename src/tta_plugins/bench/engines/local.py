"""Supervised processes on this machine, one per device. When one dies, its unit returns to the queue and a new process replaces it."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from tta_core.errors import LoadError
from tta_plugins.bench.engines import Progress
from tta_plugins.bench.plan import Unit, read_plan
from tta_plugins.bench.store import Store
from tta_plugins.bench.worker import line_of

_TRIES = 3


@attrs.define
class Local:
    """`workers` processes; None means one for each CUDA device, at least one. A unit that kills three workers is recorded as failed."""

    workers: int | None = None
    running: list[subprocess.Popen[str]] = attrs.field(factory=list, init=False)
    _deaths: Counter[Unit] = attrs.field(factory=Counter)
    _errors: list[BaseException] = attrs.field(factory=list)
    _stop: threading.Event = attrs.field(factory=threading.Event)

    def sample(self, folder: Path, units: Sequence[Unit], progress: Progress) -> None:
        """See `Engine`."""
        waiting: queue.SimpleQueue[Unit] = queue.SimpleQueue()
        for unit in units:
            waiting.put(unit)
        devices = _devices()
        count = min(self.workers or max(1, len(devices)), max(1, len(units)))
        lock = threading.Lock()
        threads = [
            threading.Thread(
                target=self._guarded,
                args=(folder, number, devices[number % len(devices)] if devices else None, waiting, progress, lock),
            )
            for number in range(count)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except BaseException:
            self._stop.set()
            for process in self.running:
                process.kill()
            raise
        if self._errors:
            raise self._errors[0]

    def _guarded(self, *given: Any) -> None:
        """Supervise a worker. An error of this thread ends the run, and `sample` raises it."""
        try:
            self._supervise(*given)
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()

    def _supervise(
        self,
        folder: Path,
        number: int,
        device: str | None,
        waiting: "queue.SimpleQueue[Unit]",
        progress: Progress,
        lock: threading.Lock,
    ) -> None:
        process: subprocess.Popen[str] | None = None
        while not self._stop.is_set():
            try:
                unit = waiting.get_nowait()
            except queue.Empty:
                break
            if process is None or process.poll() is not None:
                process = _started(folder, number, device)
                self.running.append(process)
                if self._stop.is_set():  # the run ended meanwhile, and the others were killed before this one was known
                    process.kill()
            answer = _answer_of(process, unit)
            if answer is None:
                self._died(folder, number, unit, process, waiting)
                continue
            with lock:
                if answer:
                    self._errors.append(LoadError(answer))
                if answer or not progress(unit):
                    self._stop.set()
        if process is not None:
            _ended(process)

    def _died(self, folder: Path, number: int, unit: Unit, process: subprocess.Popen[str], waiting: "queue.SimpleQueue[Unit]") -> None:
        code = _ended(process)
        self._deaths[unit] += 1
        if self._stop.is_set():
            return
        if self._deaths[unit] < _TRIES:
            waiting.put(unit)
            return
        store, plan = Store(folder), read_plan(folder)
        arm = plan.arm(unit.arm)
        done = store.cells(arm)
        what = f"{_TRIES} workers ended with exit code {code} while sampling this cell's batch; see logs/{_log(folder, number).name}"
        for cell in unit.cells:
            if cell not in done:
                store.keep(arm, cell, {"status": "failed", "error": what, "traceback": "", "retries": _TRIES}, None)


def _answer_of(process: subprocess.Popen[str], unit: Unit) -> str | None:
    """Have the worker sample a unit. Returns its refusal, empty if there is none; None if the worker has died."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line_of(unit) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        return None
    return str(json.loads(line)["refused"]) if line.endswith("\n") else None


def _ended(process: subprocess.Popen[str]) -> int:
    """Close the process's input and wait for its end; returns its exit code."""
    with suppress(OSError), process:
        pass
    return process.wait()


def _started(folder: Path, number: int, device: str | None) -> subprocess.Popen[str]:
    environment = dict(os.environ) if device is None else {**os.environ, "CUDA_VISIBLE_DEVICES": device}
    log = _log(folder, number)
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as errors:
        command = [sys.executable, "-m", "tta_plugins.bench.worker", str(folder.resolve())]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)


def _log(folder: Path, number: int) -> Path:
    return folder / "logs" / f"worker-{number}.log"


def _devices() -> list[str]:
    """The CUDA devices that this process may use, named as in CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
