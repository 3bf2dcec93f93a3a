"""Many runs in one process, successful and failing ones: memory, descriptors, threads and temporary files do not grow."""

import gc
import itertools
import os
import tempfile
import threading
import warnings
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
import torch
from faulty import FAULTS, FailsAt, aligned, brightness
from PIL import Image

import tta_core as tta
from tta_core.errors import TTAError
from tta_core.testing import GaussianMixture, vp_scheduler


@attrs.frozen
class Held:
    """The resources of a process. Objects and tensors are counted exactly; resident memory includes the allocator's caches."""

    objects: int
    tensors: int
    descriptors: int
    threads: int
    temporary: int
    resident: int


def held(place):
    for _ in range(2):
        gc.collect()
    things = gc.get_objects()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(
        len(things),
        sum(issubclass(type(thing), torch.Tensor) for thing in things),
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        len(list(Path(place).rglob("*"))),
        pages * os.sysconf("SC_PAGE_SIZE"),
    )


def interrupt(snapshot):
    raise KeyboardInterrupt


def broken(snapshot):
    raise RuntimeError("no")


PARTS = {"backbone": GaussianMixture(), "scheduler": vp_scheduler(2)}


def kinds(folder):
    """Runs of each kind, by name. Some end in an error, which is not kept."""

    def saved():
        done = aligned(**PARTS)
        done.save(folder, overwrite=True)
        done.grid()

    def prepared():
        with tta.prepare("a", method="fixed", reward=brightness, **PARTS) as made:
            next(iter(made.method.align(made.problem)))  # a generator that is not run to its end

    return {
        "good": lambda: aligned(**PARTS),
        "late failure": lambda: aligned(reward=FailsAt(brightness, 6, FAULTS["exception"]), **PARTS),
        "one of a batch": lambda: aligned(["a", "b", "c"], reward=FailsAt(brightness, 6, FAULTS["exception"]), **PARTS),
        "interrupted": lambda: aligned(observers=[interrupt], **PARTS),
        "broken observer": lambda: aligned(observers=[broken], **PARTS),
        "refused": lambda: aligned(method="date", guidance="x", **PARTS),
        "saved": saved,
        "left in the middle": prepared,
    }


def grown(runs, place, warmup):
    """The resources after the warm-up, and at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, call in enumerate(runs):
            if number == warmup:
                before = held(place)
            with suppress(TTAError):
                call()
    return before, held(place)


def check(before, after, runs):
    assert after.descriptors <= before.descriptors
    assert after.threads <= before.threads
    assert after.temporary <= before.temporary
    assert after.tensors <= before.tensors + 2
    assert after.objects <= before.objects + 50 + runs  # a leak would be thousands of objects; a cache of strings may grow a little
    assert after.resident <= before.resident + 2**25


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A temporary folder for this process alone."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.mark.parametrize("count_of_runs", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_runs_of_every_kind(count_of_runs, place, tmp_path, count):
    count("tried", count_of_runs)
    each = kinds(tmp_path / "out")
    runs = list(itertools.islice(itertools.cycle(each.values()), 2 * len(each) + count_of_runs))
    check(*grown(runs, place, 2 * len(each)), count_of_runs)
    count("survived", count_of_runs)


@pytest.mark.parametrize("count_of_runs", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_runs_of_the_embedded_model(count_of_runs, place, tmp_path, count):
    from tta_core.plugins import resolve

    count("tried", count_of_runs)
    drawing = resolve.backbone("shapes")
    image = Image.new("RGB", (64, 64), "red")
    settings = [{"method": "date", "memory": "bf16"}, {"method": "fixed", "image": image}]
    runs = [lambda given=given: tta.align("a red circle", backbone=drawing, reward="brightness", steps=2, **given) for given in settings]
    runs = list(itertools.islice(itertools.cycle(runs), len(runs) + count_of_runs))
    check(*grown(runs, place, len(settings)), count_of_runs)
    count("survived", count_of_runs)
