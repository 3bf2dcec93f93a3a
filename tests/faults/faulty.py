"""Parts that fail at a chosen call, and a short run with them."""

import itertools

import attrs
import torch

import tta_core as tta
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.values.schedules import Every
from tta_plugins.methods.date import DATE


class BrokenError(Exception):
    """The exception of a third party's code."""


FAULTS = {
    "exception": lambda: BrokenError("out of cheese"),
    "exit": lambda: SystemExit(3),
    "memory": lambda: torch.OutOfMemoryError("full"),
    "assertion": lambda: AssertionError(),
}


class FailsAt:
    """Passes calls through until the given call, which raises."""

    def __init__(self, call, at, fault):
        self.call, self.at, self.fault, self.calls = call, at, fault, itertools.count()

    def __call__(self, *args):
        if next(self.calls) == self.at:
            raise self.fault()
        return self.call(*args)


def brightness(images, prompts):
    return images.mean((1, 2, 3))


@attrs.frozen
class Yields:
    """A method that yields two valid snapshots, and then the given objects."""

    rubbish: object = None
    needs = tta.Needs()

    def align(self, problem):
        x0 = problem.controls.noise[0]
        for index in range(2):
            yield tta.Snapshot(index, 4, problem.controls, x0, problem.look(x0).scores)
        yield self.rubbish(problem) if callable(self.rubbish) else self.rubbish


def aligned(prompts="a red circle", **changes):
    settings = {"method": DATE(updates=Every(1)), "reward": brightness, **changes}
    for name, make in (("backbone", GaussianMixture), ("scheduler", lambda: vp_scheduler(4))):
        settings[name] = settings.get(name) or make()
    return tta.align(prompts, **settings)
