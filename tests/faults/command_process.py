"""The command line in processes forked from one that has imported torch, each with a fault of its own."""

import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path

import attrs

import tta_core.running.align  # noqa: F401  (imported once, before the processes are forked)
import tta_plugins.cli.app  # noqa: F401
import tta_plugins.methods.date
import tta_plugins.schedulers.reading  # noqa: F401

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir")


@attrs.frozen
class Fault:
    """What goes wrong in one process.

    Attributes:
        stdout, stderr: "file", or "closed", "gone" (a pipe without a reader) or "full" (a device without room).
        encoding: of both.
        event: which operation on the output folder the fault comes with, from 1; 0 is none. -1 counts them.
        kind: what happens then: an errno to raise, or the negative of a signal's number.
    """

    stdout: str = "file"
    stderr: str = "file"
    encoding: str = "utf-8"
    event: int = 0
    kind: int = 0


def run(arguments, folder, log, fault, environment):
    """In the process itself: arrange the fault, then be `tta`."""
    os.environ.update(environment)
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, "stdout"), (2, "stderr")):
        _connect(number, getattr(fault, name), Path(log, name))
        closed = getattr(fault, name) == "closed"
        setattr(sys, name, None if closed else open(number, "w", encoding=fault.encoding, errors="strict", closefd=False))
    sys.argv = ["tta", *arguments]
    if fault.event:
        _watch(str(folder), fault, Path(log, "events"))
    tta_plugins.cli.main()


def _connect(number, target, file):
    if target == "closed":
        os.close(number)
        return
    if target == "gone":
        reader, handle = os.pipe()
        os.close(reader)
    else:
        handle = os.open("/dev/full" if target == "full" else file, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, number)
    os.close(handle)


def _watch(folder, fault, log):
    seen, busy = 0, False

    def audit(event, arguments):
        nonlocal seen, busy
        if busy or event not in EVENTS or not arguments or not str(arguments[0]).startswith(folder):
            return
        seen += 1
        if fault.event == -1:
            busy = True
            log.write_text(str(seen))
            busy = False
        elif seen == fault.event:
            if fault.kind > 0:
                raise OSError(fault.kind, os.strerror(fault.kind))
            os.kill(os.getpid(), -fault.kind)

    sys.addaudithook(audit)


def start(arguments, folder, log, fault=None, **environment):
    """Start a process; it can be killed, joined and asked for its exit code."""
    Path(log).mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("forkserver").Process(
        target=run, args=(list(map(str, arguments)), folder, log, fault or Fault(), environment)
    )
    process.start()
    return process
