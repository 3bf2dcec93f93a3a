"""`tta align` with faults of disks, streams and signals, and killed at any moment: the files in the folder are complete."""

import errno
import itertools
import json
import random
import signal
import sys
import time

import pytest
from command_process import Fault, start
from hypothesis import settings
from PIL import Image

from tta_plugins.cli.new import rendered

FILES = {"aligned.png", "baseline.png", "grid.png", "run.json"}
STEPS = 3
PATIENCE = 600  # seconds

HALTING = """
import os, signal
from tta_core import hookimpl

class Halting:
    \"\"\"Sends this process the signals of HALT: SIGTERM:0 when it is first asked, SIGTERM:2 at the second time after a snapshot.\"\"\"
    def __init__(self):
        self.asked = -1
        Halting.snapshots = False
    def __call__(self, images, prompts):
        self.asked += self.snapshots or self.asked < 0
        for word in filter(None, os.environ.get("HALT", "").split(",")):
            name, _, at = word.partition(":")
            if at.isdigit() and self.asked == int(at):
                os.kill(os.getpid(), getattr(signal, name))
        return images.mean((1, 2, 3))

@hookimpl
def tta_snapshot(snapshot):
    Halting.snapshots = True
    if os.environ.get("HALT", "").startswith("hook:"):
        os.kill(os.getpid(), getattr(signal, os.environ["HALT"][5:]))

@hookimpl
def tta_register_rewards(register):
    register("halting", Halting)
"""


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """Small plugins with which a run takes a tenth of a second: a backbone, a method, and a reward that sends signals."""
    site = tmp_path_factory.mktemp("site")
    for kind, name in (("backbone", "colours"), ("method", "greedy"), ("reward", "halting")):
        module = f"tta_{name}"
        files = {f"{module}.py": HALTING} if kind == "reward" else rendered(kind, name)
        for path in (path for path in files if path.startswith(module)):
            (site / path).parent.mkdir(exist_ok=True)
            (site / path).write_text(files[path])
        facts = site / f"{module}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tta-{name}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[tta]\n{module} = {module}\n")
    sys.path.insert(0, str(site))
    yield
    sys.path.remove(str(site))


def told(count, outcomes):
    """Counts the faults that were tried and survived."""
    count("tried", len(outcomes))
    count("survived", sum(outcomes))


def align(folder, log, fault=None, prompts=("one",), overwrite=False, **environment):
    arguments = ("--backbone", "colours", "--reward", "halting", "--method", "greedy", "--steps", STEPS, "--out", folder)
    return start(
        ["align", *prompts, *arguments, *(["--overwrite"] if overwrite else [])],
        str(folder),
        str(log),
        fault,
        TMPDIR=str(log),
        **environment,
    )


def ended(process):
    process.join(PATIENCE)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def read(log):
    return "".join(path.read_text(errors="replace") for path in (log / "stdout", log / "stderr") if path.exists())


def complete(folder):
    """The names of the files in a folder of results, each of which is checked to be complete. The page is not required, since it needs
    packages that may be missing."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.exists() else set()
    for name in names:
        if name.endswith(".png"):
            with Image.open(folder / name) as image:
                image.load()
        elif name == "run.json":
            json.loads((folder / name).read_text())
        else:
            assert (folder / name).read_text().rstrip().endswith("</html>")
    return names - {"report.html"}


def kept(folder, log):
    """Whether all files of a run are in its folder, or in the temporary folder that replaces it."""
    return any(complete(place) == FILES for place in (folder, *log.glob("tta-align-*")))


STREAMS = list(itertools.product(("file", "closed", "gone", "full"), repeat=2))


def test_no_stream_loses_a_result(tmp_path, count):
    runs = {}
    for number, (stdout, stderr) in enumerate(STREAMS):
        folder, log = tmp_path / f"{number}", tmp_path / f"log-{number}"
        runs[stdout, stderr] = folder, log, align(folder, log, Fault(stdout=stdout, stderr=stderr))
    outcomes = {key: (ended(process), complete(folder), "Traceback" in read(log)) for key, (folder, log, process) in runs.items()}
    told(count, [outcome == (0, FILES, False) for outcome in outcomes.values()])
    assert {key: outcome for key, outcome in outcomes.items() if outcome != (0, FILES, False)} == {}


HOSTILE = ("\U0001f600 grinning", "\x1b]0;owned\x07\x1b[2J red", "\u202egnp.exe", "half \x9b31m", "new\nline\r", "\u2028")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii", "latin-1"])
def test_no_prompt_loses_a_result_or_controls_the_terminal(tmp_path, encoding):
    log = tmp_path / "log"
    process = align(tmp_path / "out", log, Fault(encoding=encoding), prompts=HOSTILE)
    assert ended(process) == 0, read(log)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["prompts"] == list(HOSTILE)
    shown = b"".join((log / name).read_bytes() for name in ("stdout", "stderr")).decode(encoding)
    assert not set(shown) & set("\x1b\x07\x9b\r\u202e\u2028")
    assert "\\x1b]0;owned\\x07" in shown.replace("\n", "")


def events_of_a_run(tmp_path):
    log = tmp_path / "counting"
    assert ended(align(tmp_path / "counted", log, Fault(event=-1))) == 0, read(log)
    return int((log / "events").read_text())


def some(events, first):
    """Every second operation with the profile "fast", and all of them with "thorough"."""
    return events[first % 2 :: 2] if settings.default.max_examples < 50 else events


FAILURES = {"full": errno.ENOSPC, "forbidden": errno.EACCES, "interrupted": -signal.SIGINT, "ended": -signal.SIGTERM}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_fault_at_any_operation_on_the_folder(tmp_path, failure, count):
    """An error before the run is a message of one sentence. After the run all files are kept, here or in a temporary folder. The exit code
    is that of the signal."""
    kind, runs = FAILURES[failure], {}
    for event in some(range(1, events_of_a_run(tmp_path) + 1), list(FAILURES).index(failure)):
        folder, log = tmp_path / f"{event}", tmp_path / f"log-{event}"
        runs[event] = folder, log, align(folder, log, Fault(event=event, kind=kind))
    outcomes = {}
    for event, (folder, log, process) in runs.items():
        code, said = ended(process), read(log)
        began = "step 1/" in said
        orderly = "Traceback" not in said and code in ((0, 1) if kind > 0 else (0, 128 - kind))
        outcomes[event] = orderly and (kept(folder, log) if began else complete(folder) == set() and code != 0)
        assert outcomes[event], (event, code, said)
    told(count, list(outcomes.values()))
    assert any("step 1/" in read(log) for _, log, _ in runs.values())


@pytest.mark.parametrize(
    ("halt", "code", "is_kept"),
    [
        ("SIGINT:0", 130, False),
        ("SIGTERM:0", 143, False),
        ("SIGINT:1", 130, True),
        ("SIGTERM:1", 143, True),
        ("SIGHUP:1", 129, True),
        ("SIGTERM:1,SIGINT:2", 143, True),
        ("SIGINT:1,SIGINT:2", 130, True),
        ("hook:SIGTERM", 143, True),
        ("hook:SIGHUP", 129, True),
    ],
)
def test_a_signal_keeps_the_best_so_far(tmp_path, halt, code, is_kept):
    process = align(tmp_path / "out", tmp_path / "log", HALT=halt)
    assert ended(process) == code, read(tmp_path / "log")
    assert complete(tmp_path / "out") == (FILES if is_kept else set())
    assert "Traceback" not in read(tmp_path / "log")
    if is_kept:
        assert json.loads((tmp_path / "out" / "run.json").read_text())["stopped"].startswith("interrupted")
        assert "The run goes on without it" not in read(tmp_path / "log")


def test_killed_at_any_moment(tmp_path, count):
    """Killed by SIGKILL, at 20 random moments and at each operation on the folder: each file is complete or absent, and the next run
    removes temporary files."""
    events, began = events_of_a_run(tmp_path), time.monotonic()  # the first run also starts the process from which the others are forked
    assert ended(align(tmp_path / "timed", tmp_path / "timing")) == 0
    length, chance, outcomes, found = time.monotonic() - began, random.Random(0), [], []
    for moment in range(20):
        folder = tmp_path / f"{moment}"
        process = align(folder, tmp_path / f"log-{moment}")
        process.join(length * chance.random())
        process.kill()
        process.join(PATIENCE)
        found.append(folder)
    for event in range(1, events + 1):
        folder = tmp_path / f"event-{event}"
        process = align(folder, tmp_path / f"log-event-{event}", Fault(event=event, kind=-signal.SIGKILL))
        assert ended(process) == -signal.SIGKILL
        found.append(folder)
    for folder in found:
        names = complete(folder)
        outcomes.append(not names or "run.json" in names)
    told(count, outcomes)
    assert all(outcomes)
    left = [folder for folder in found if folder.exists() and any(path.name.endswith(".tta-part") for path in folder.iterdir())]
    assert left, "no kill came while a file was written"
    folder = left[-1]
    assert ended(align(folder, tmp_path / "log-after", overwrite=True)) == 0, read(tmp_path / "log-after")
    assert {path.name for path in folder.iterdir()} - {"report.html"} == FILES
