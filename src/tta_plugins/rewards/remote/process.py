"""Starts and supervises the other process: its timeout, its standard error and its end."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tta_core.errors import LoadError, RewardError
from tta_plugins.rewards.remote import frames

_CHILD = Path(__file__).with_name("child.py")
_OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_TAIL = 4000
_ENDING_TIME = 10  # seconds for the end of a process whose connection has ended


class Process:
    """A running child process. It has its own process group, so that it does not get Ctrl-C, and it ends when this process ends."""

    def __init__(self, python: str, task: Mapping[str, Any], environment: Mapping[str, str], timeout: float) -> None:
        """Start it and wait for its card. Raises `LoadError` if it does not start."""
        if os.name != "posix":
            raise LoadError("A reward in another process needs a POSIX system, because the process inherits a socket. Use Linux or macOS.")
        ours, theirs = socket.socketpair()
        arguments = {**task, "descriptor": theirs.fileno(), "frames": frames.__file__, "threads": torch.get_num_threads()}
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        code = f"import runpy; runpy.run_path({str(_CHILD)!r}, run_name='__main__')"
        try:
            self._child = subprocess.Popen(
                [python, "-c", code],
                env={**inherited, **environment, "TTA_REMOTE_REWARD": json.dumps(arguments)},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise LoadError(f"{python} could not be started: {error.strerror}. Give the Python of the other environment.") from error
        finally:
            theirs.close()
        self._channel, self._output = ours, deque[str](maxlen=200)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self._channel.settimeout(timeout)
            header, _ = frames.receive(self._channel)
        except BaseException as error:
            raise LoadError(f"{task['factory']} in {python} did not start: {self.end(error, timeout)}") from error
        if "error" in header:
            self.stop()
            raise LoadError(f"{task['factory']} in {python} could not be made: {header['error']}\n{header['traceback']}")
        self.card: dict[str, Any] = header["card"]

    @property
    def alive(self) -> bool:
        """Whether it runs and can get requests."""
        return self._child.poll() is None and self._channel.fileno() >= 0

    def ask(self, header: Mapping[str, Any], tensors: Sequence[Tensor], timeout: float) -> tuple[dict[str, Any], list[Tensor]]:
        """Send a request and wait for the reply. If there is none, ends the process and raises `RewardError` with its standard error."""
        try:
            self._channel.settimeout(timeout)
            frames.send(self._channel, dict(header), tuple(tensors))
            return frames.receive(self._channel)
        except (OSError, ValueError, KeyError) as error:
            raise RewardError(f"the process {self._child.pid} {self.end(error, timeout)} The next call starts another.") from error
        except BaseException:  # Ctrl-C: a reply that was read in part cannot be continued
            self.stop()
            raise

    def end(self, error: BaseException, timeout: float) -> str:
        """Stop it; returns how it ended and the end of its output."""
        if isinstance(error, TimeoutError):
            how = f"did not reply within {timeout:g} s and was stopped; give more time with timeout=."
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_ENDING_TIME)
            how = _ending(self._child.returncode) if self._child.returncode is not None else f"broke the connection ({error})."
        self.stop()
        output = "".join(self._output)[-_TAIL:].strip()
        return f"{how} Its last output: {output or 'none'}."

    def stop(self) -> None:
        """Kill it."""
        self._channel.close()
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._listener.join(_ENDING_TIME)  # longer only if a process that it started still has the pipe
        if self._child.stdout is not None and not self._listener.is_alive():
            self._child.stdout.close()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in iter(lambda: self._child.stdout.readline(2000), b""):  # type: ignore[union-attr]
            self._output.append(line.decode(errors="replace"))


def _ending(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = ", which the system sends if memory runs out" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}."
    return f"ended with exit code {code}."


def python_of(path: str) -> str:
    """The interpreter: the given one, or that of a virtual environment's folder."""
    inside = Path(path) / "bin" / "python"
    return str(inside) if inside.is_file() else str(path) or sys.executable
