"""Runs a failed batch again in halves until the failing prompts are alone, so that the others get their results.

Samples do not mix and their noise is keyed, so a sample's result is the same in any part of its batch.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import attrs
import torch

from tta_core.errors import NotFiniteError, RewardError, RunError, TTAError
from tta_core.running.alignment import Alignment
from tta_core.running.manifest import manifest_of
from tta_core.running.out_of_memory import ran_out
from tta_core.running.outcome import Outcome, TraceRow
from tta_core.running.prepare import Prepared
from tta_core.running.run_once import Ended
from tta_core.solving.trial import MAX_SINGLE_FAILURES
from tta_core.values.arguments import several
from tta_core.values.ledger import Ledger
from tta_core.values.noise_rows import NoiseRows
from tta_core.values.typing import evolve

Samples = tuple[int, ...]


@runtime_checkable
class RunningOnce(Protocol):
    """Runs a prepared problem once, without retries."""

    def __call__(self, prepared: Prepared, /) -> Ended:
        """Run; failures are in the returned value, except a Ctrl-C before the first snapshot."""
        ...


@attrs.frozen
class _Reached:
    """The result of one sample in one run."""

    alignment: Alignment
    row: int

    @property
    def order(self) -> tuple[bool, float]:
        """Sort key: finished runs are better than stopped ones; between equals, the higher score is better."""
        return not self.alignment.stopped, self.alignment.scores[self.row]


def run_in_halves(prepared: Prepared, once: RunningOnce, ledger: Ledger) -> Ended:
    """Run all samples together and, if that fails, again in halves. It stops as soon as four single samples have failed and none was
    finished: then the failure does not depend on the sample. The result contains the finished samples; the error lists the others."""
    first = once(prepared)
    count = len(prepared.problem.prompts)
    if count == 1 or not _may_depend_on_the_sample(first.error):
        return first
    budget = prepared.request.budget
    reached: list[list[_Reached]] = [[] for _ in range(count)]
    if first.alignment is not None:
        _note(reached, first.alignment, tuple(range(count)))
    parts, finished, failed, interrupted = _halves(tuple(range(count))), 0, dict[int, TTAError](), False
    while parts and not interrupted and not (budget and budget.spent(ledger)) and (finished or len(failed) < MAX_SINGLE_FAILURES):
        samples = parts.pop(0)
        try:
            ended = once(of_samples(prepared, samples))
        except KeyboardInterrupt:
            interrupted = True
            break
        if ended.alignment is not None:
            _note(reached, ended.alignment, samples)
            interrupted = ended.alignment.interrupted
        if ended.error is None:
            finished += len(samples) if ended.alignment and not ended.alignment.stopped else 0
        elif len(samples) > 1:
            parts[:0] = _halves(samples)
        else:
            failed[samples[0]] = ended.error
    if not finished:
        return _interrupted(first) if interrupted else first
    names = prepared.problem.prompts
    left_out = [repr(names[sample]) for sample, rows in enumerate(reached) if not rows]
    again = ", ".join(repr(names[sample]) for sample in failed)
    report = f"run again in halves, {finished} of {count} prompts were finished"
    report += f"; failed again: {again}" if again else ""
    report += f"; there is no result for {', '.join(left_out)}" if left_out else ""
    stopped = f"{first.alignment.stopped if first.alignment else 'failed before the first snapshot'}; {report}"
    return Ended(_joined(prepared, reached, ledger, stopped, interrupted), _extended(first.error, f"{report[0].upper()}{report[1:]}."))


def _may_depend_on_the_sample(error: TTAError | None) -> bool:
    return isinstance(error, RewardError | RunError | NotFiniteError) and not ran_out(error)


def _extended(error: TTAError | None, sentence: str) -> TTAError:
    extended = type(error)(f"{error} {sentence}") if error is not None else RunError(sentence)
    extended.__cause__ = error.__cause__ if error is not None else None
    return extended


def _interrupted(first: Ended) -> Ended:
    return first if first.alignment is None else Ended(evolve(first.alignment, interrupted=True), first.error)


def _halves(samples: Samples) -> list[Samples]:
    half = len(samples) // 2
    return [samples[:half], samples[half:]]


def of_samples(prepared: Prepared, samples: Samples) -> Prepared:
    """A prepared problem of some of the samples; they keep the noise that they have in the whole batch."""
    problem, request, rows = prepared.problem, prepared.request, torch.tensor(samples, device="cpu")
    rows = rows.to(problem.controls.noise.device)
    prompts = tuple(problem.prompts[sample] for sample in samples)
    seeds = several("seed", request.seed)
    some = evolve(
        problem,
        prompts=prompts,
        controls=problem.controls[rows],
        noises=NoiseRows(problem.noises, samples, len(problem.prompts)),
        origin=None if problem.origin is None else problem.origin[rows],
    )
    request = replace(request, prompts=prompts, seed=request.seed if seeds is None else [seeds[sample] for sample in samples])
    return evolve(prepared, problem=some, request=request, negatives=tuple(prepared.negatives[sample] for sample in samples))


def _note(reached: list[list[_Reached]], alignment: Alignment, samples: Samples) -> None:
    for row, sample in enumerate(samples):
        reached[sample].append(_Reached(alignment, row))


def _joined(prepared: Prepared, reached: Sequence[Sequence[_Reached]], ledger: Ledger, stopped: str, interrupted: bool) -> Alignment:
    """Joins the best run of each sample to one alignment."""
    kept = tuple(sample for sample, runs in enumerate(reached) if runs)
    best = [max(reached[sample], key=lambda one: one.order) for sample in kept]
    remarks = dict.fromkeys(remark for one in best for remark in one.alignment.manifest["remarks"])
    some = of_samples(prepared, kept)
    plain = [one.alignment.baseline for one in best if one.alignment.baseline is not None]
    return Alignment(
        prompts=some.problem.prompts,
        result=_outcome([one.alignment.result for one in best], [one.row for one in best]),
        baseline=_outcome(plain, [one.row for one in best]) if len(plain) == len(best) else None,
        trace=tuple(_row([one.alignment.trace[i] for one in best], best) for i in range(min(len(one.alignment.trace) for one in best))),
        cost=ledger,
        manifest={**manifest_of(some), "remarks": list(remarks)},
        stopped=stopped,
        interrupted=interrupted,
    )


def _outcome(outcomes: Sequence[Outcome], rows: Sequence[int]) -> Outcome:
    chosen = list(zip(outcomes, rows, strict=True))
    scores = tuple(outcome.scores[row] for outcome, row in chosen)
    return Outcome(torch.stack([outcome.pixels[row] for outcome, row in chosen]), evolve(outcomes[0].scores, values=scores))


def _row(rows: Sequence[TraceRow], best: Sequence[_Reached]) -> TraceRow:
    """The numbers of a snapshot that every sample reached."""
    own = [(row, one.row) for row, one in zip(rows, best, strict=True)]
    scored = [row.scores[place] for row, place in own if row.scores is not None]
    parts, penalties = (
        {
            name: tuple(getattr(row, kind)[name][place] for row, place in own)
            for name in getattr(rows[0], kind)
            if all(name in getattr(row, kind) for row in rows)
        }
        for kind in ("parts", "penalties")
    )
    seconds = max(row.seconds for row in rows)
    return TraceRow(rows[0].index, rows[0].total, seconds, tuple(scored) if len(scored) == len(own) else None, parts, penalties)
