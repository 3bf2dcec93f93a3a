"""Runs the command line in processes that are forked from one that has imported torch, each with its own fault."""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path

import attrs
import pytest
from typer.testing import CliRunner

import tta_plugins.cli
from tta_plugins.cli.app import app

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir")


@attrs.frozen
class Fault:
    """The faults of one process.

    Attributes:
        stdout, stderr: "file", or "closed", "gone" (a pipe without a reader) or "full" (a device without room).
        encoding: the encoding of both.
        event: the number of the operation on the output folder at which the fault occurs, from 1; 0: none; -1: operations are counted.
        kind: the fault: an errno to raise, or the negative of a signal's number.
    """

    stdout: str = "file"
    stderr: str = "file"
    encoding: str = "utf-8"
    event: int = 0
    kind: int = 0


WARM = "TTA_TEST_WARM"
if WARM in os.environ:  # in the process from which the others are forked: a run imports its modules and finds the plugins
    with tempfile.TemporaryDirectory() as place:
        CliRunner().invoke(app, [*json.loads(os.environ.pop(WARM)), f"--out={place}/out"])


def run(arguments, folder, log, fault, environment):
    """Runs in the new process: sets up the fault, and then runs `tta`."""
    os.environ.update(environment)
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, "stdout"), (2, "stderr")):
        _connect(number, getattr(fault, name), Path(log, name))
        closed = getattr(fault, name) == "closed"
        setattr(sys, name, None if closed else open(number, "w", encoding=fault.encoding, closefd=False))  # noqa: SIM115
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
    """Starts a process, which can be killed, joined and asked for its exit code. The first call also starts the process from which the
    others are forked."""
    Path(log).mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    here = [str(Path(__file__).parent), *map(str, sys.path)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(here))  # for the server, when it is started by the first process
        patched.setenv("OMP_NUM_THREADS", "1")
        patched.setenv(WARM, json.dumps([str(word) for word in arguments if word not in ("--out", folder)]))
        process = context.Process(target=run, args=([*map(str, arguments)], str(folder), str(log), fault or Fault(), environment))
        process.start()
    return process
