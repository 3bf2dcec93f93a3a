"""The laws about the snapshots of a method; a part of `MethodSuite`."""

from typing import Any

import attrs
import torch

from tta_core.protocols.method import Method, Snapshot
from tta_core.solving.problem import Problem
from tta_core.testing.problems import problem_for


@attrs.frozen(eq=False)
class Recorded:
    """One run of a method, which several laws look at.

    Attributes:
        problem: what was solved.
        before: the numbers of its controls before the run.
        snapshots: all of them; there is at least one.
        numbers: of each snapshot, what its tensors were when it was yielded.
        grad_modes: at each snapshot, whether the caller's gradients were on.
    """

    problem: Problem
    before: list[torch.Tensor]
    snapshots: list[Snapshot]
    numbers: list[list[torch.Tensor]]
    grad_modes: list[bool]

    @property
    def last(self) -> Snapshot:
        """The result."""
        return self.snapshots[-1]


_runs: dict[tuple[type, Method], Recorded] = {}


class SnapshotLaws:
    """Laws about single snapshots, and about runs that stop at one."""

    def recorded(self, method: Method) -> Recorded:
        """The run of the plain problem: one for all laws of a suite and equal methods, unless the method cannot be hashed."""
        try:
            known = _runs.get((type(self), method))
        except TypeError:
            return self._record(method)
        if known is None:
            known = _runs[type(self), method] = self._record(method)
        return known

    def _record(self, method: Method) -> Recorded:
        problem = self.problem_for(method)
        run = Recorded(problem, [tensor.clone() for tensor in problem.controls.leaves], [], [], [])
        for snapshot in method.align(problem):
            run.snapshots.append(snapshot)
            run.numbers.append([tensor.clone() for tensor in held(snapshot)])
            run.grad_modes.append(torch.is_grad_enabled())
        assert run.snapshots, "no snapshot at all: a run without a result"
        return run

    def problem_for(self, method: Method, **changes: Any) -> Problem:
        """The problem of the laws; `changes` are arguments of `tta_core.testing.problems.problem_for`."""
        return problem_for(method, **changes)

    def test_snapshots_count_up_to_the_total(self, method: Method) -> None:
        """Indices never fall, stay below one total, and end at total - 1."""
        places = [(snapshot.index, snapshot.total) for snapshot in self.recorded(method).snapshots]
        assert len({total for _, total in places}) == 1, "the total changed during the run"
        assert places == sorted(places), "an index fell"
        assert places[0][0] >= 0, "an index is negative"
        assert places[-1][0] == places[-1][1] - 1, f"ended at {places[-1][0]} of {places[-1][1]}"

    def test_the_result_is_scored_as_it_says(self, method: Method) -> None:
        """The last snapshot's scores are the reward of its own x0, decoded and clamped."""
        last = self.recorded(method).last
        again = self.recorded(method).problem.look(last.x0.detach())
        assert last.scores is not None, "the result has no scores"
        torch.testing.assert_close(last.scores, again.scores, msg="the result's scores are not those of its x0")
        assert last.images is None or torch.allclose(last.images.clamp(0, 1), again.images, atol=1e-5), "the images are not those of x0"

    def test_stopping_anywhere_leaves_a_valid_result(self, method: Method) -> None:
        """Every snapshot's x0 is one finite row per prompt, can be decoded and scored; the generator may be closed there."""
        problem = self.recorded(method).problem
        for snapshot in self.recorded(method).snapshots:
            assert snapshot.x0.shape == problem.controls.noise[0].shape, f"{snapshot.x0.shape[0]} rows for {len(problem.prompts)} prompts"
            assert torch.isfinite(problem.look(snapshot.x0.detach()).scores).all(), "a snapshot cannot be scored"
        running = iter(method.align(problem))
        next(running)
        running.close()  # type: ignore[attr-defined]

    def test_snapshots_keep_their_numbers(self, method: Method) -> None:
        """A snapshot does not change after it was yielded: no optimiser writes into it."""
        run = self.recorded(method)
        for snapshot, numbers in zip(run.snapshots, run.numbers, strict=True):
            assert all(map(torch.equal, numbers, held(snapshot))), f"the snapshot at {snapshot.index} changed after it was yielded"

    def test_snapshots_hold_no_graph(self, method: Method) -> None:
        """Snapshots have no graph, so keeping them keeps no activations in memory."""
        for snapshot in self.recorded(method).snapshots:
            assert not any(tensor.requires_grad for tensor in held(snapshot)), f"the snapshot at {snapshot.index} holds a graph"

    def test_the_grad_mode_is_restored(self, method: Method) -> None:
        """Between snapshots, the caller's gradient mode is not changed."""
        run = self.recorded(method)
        for snapshot, is_on in zip(run.snapshots, run.grad_modes, strict=True):
            assert is_on, f"gradients are off for the caller at {snapshot.index}"


def held(snapshot: Snapshot) -> tuple[torch.Tensor, ...]:
    """Every tensor that a snapshot holds."""
    optional = [tensor for tensor in (snapshot.scores, snapshot.objective, snapshot.images) if tensor is not None]
    return (snapshot.x0, *optional, *snapshot.parts.values(), *snapshot.penalties.values(), *snapshot.gradient, *snapshot.controls.leaves)
