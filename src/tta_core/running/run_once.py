"""Runs some samples once: first the baseline, then the method; keeps the best result so far if the run ends early."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import attrs
import torch

from tta_core.errors import NotFiniteError, RunError, TTAError
from tta_core.protocols.method import Method, Snapshot
from tta_core.protocols.reward import Reward, card_of
from tta_core.running.alignment import Alignment
from tta_core.running.effect import Effect
from tta_core.running.manifest import manifest_of
from tta_core.running.outcome import Outcome, Scored, TraceRow, as_floats
from tta_core.running.prepare import Prepared
from tta_core.running.watchers import Watchers
from tta_core.solving.checks import Checks
from tta_core.solving.look import Look
from tta_core.solving.plain import PlainRun
from tta_core.solving.problem import Problem
from tta_core.values.arguments import error_text, raised_at, shown
from tta_core.values.ledger import Ledger
from tta_core.values.provenance import describe, name_of
from tta_core.values.typing import Latents, Scores, evolve

Best = tuple[Latents, Scores]


@attrs.frozen
class Ended:
    """The alignment, None before the first snapshot, and the error that stopped the run, if there was one."""

    alignment: Alignment | None
    error: TTAError | None = None


def run_once(prepared: Prepared, watchers: Watchers, ledger: Ledger) -> Ended:
    """Run the baseline, unless `baseline=False`, then the method. Ctrl-C is raised before the first snapshot; later it ends the run with
    the best results so far."""
    budget = prepared.request.budget
    problem = prepared.problem
    known, plain = None, None
    try:
        if prepared.request.baseline:
            with torch.no_grad(), ledger.phase("baseline"), _named(prepared.method, problem):
                known = PlainRun()
                baseline = evolve(problem, ledger=Ledger(), plain=known)
                plain = baseline.look(baseline.sample(baseline.controls))
                known.recording, known.look = False, plain
    except TTAError as error:
        return Ended(None, error)
    if not ledger.counts:  # if a batch is run again in halves, the clock is not reset
        ledger.restarted()
    problem = evolve(problem, ledger=ledger, plain=known, checks=Checks(deferred=True))
    watchers.started(problem)
    effect = Effect(prepared.method, problem)
    last, best, trace, stopped, interrupted, failure = None, None, [], "", False, None
    try:
        with torch.enable_grad(), ledger.phase("method"), _named(prepared.method, problem):
            for snapshot in _snapshots(prepared.method, problem):
                trace.append(_row(snapshot, problem))
                last, best = snapshot, _better(best, snapshot)
                effect.see(snapshot)
                watchers.reached(snapshot)
                stopped = budget.spent(ledger) if budget and snapshot.index + 1 < snapshot.total else ""
                if stopped:
                    break
        if last is None:
            raise RunError(
                f"{describe(prepared.method)} yielded no snapshot. A method must yield at least its result: `problem.result(...)`."
            )
    except KeyboardInterrupt:
        if last is None:
            raise
        stopped, interrupted = f"interrupted at {last.index + 1} of {last.total}", True
    except TTAError as error:
        if last is None:
            return Ended(None, error)
        stopped, failure = f"failed at {last.index + 1} of {last.total}", error
    remark = "" if stopped else effect.remark()
    with ledger.phase("result"):
        try:
            with _named(prepared.method, problem):
                result = _result(problem, last, best)
                problem.checks.read()
        except (TTAError, KeyboardInterrupt) as error:
            if isinstance(error, TTAError):
                failure, why = failure or error, "failed at the result"
            else:
                interrupted, why = True, "interrupted at the result"
            salvaged = _salvaged(problem, best) or (
                plain,
                "no estimate of the method could be scored or decoded, so the result is the baseline",
            )
            if salvaged[0] is None:
                if failure is None:
                    raise
                return Ended(None, failure)
            result, stopped = salvaged[0], f"{stopped or why}; {salvaged[1]}"
    alignment = Alignment(
        prompts=problem.prompts,
        result=_outcome(result, problem.reward),
        baseline=None if plain is None else _outcome(plain, problem.reward),
        trace=tuple(trace),
        cost=ledger,
        manifest={**manifest_of(prepared), "remarks": [remark] if remark else []},
        stopped=stopped,
        interrupted=interrupted,
    )
    return Ended(alignment, failure)


@contextmanager
def _named(method: Method, problem: Problem) -> Iterator[None]:
    """An exception inside that is not a `TTAError` becomes a `RunError` that names the method, the backbone and the line of code."""
    try:
        yield
    except (TTAError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RunError(
            f"{describe(method)} on {describe(problem.backbone)} raised {error_text(error)}. It happened in "
            f"{raised_at(error)}. Report it to the author of the code there. The best so far is in this error's `partial`."
        ) from error


def _snapshots(method: Method, problem: Problem) -> Iterator[Snapshot]:
    """A method's snapshots, checked. Raises `RunError` for a value that is not a snapshot of this problem."""
    samples = len(problem.prompts)
    snapshots = method.align(problem)
    if not isinstance(snapshots, Iterable):
        raise RunError(f"{describe(method)} returned {shown(snapshots)} from align. Write it as a generator of snapshots.")
    for snapshot in snapshots:
        if not isinstance(snapshot, Snapshot):
            raise RunError(f"{describe(method)} yielded {snapshot!r:.100}, which is not a snapshot. Yield a tta_core.Snapshot.")
        for name, tensor in (("x0", snapshot.x0), ("scores", snapshot.scores), ("images", snapshot.images)):
            if tensor is None:
                continue
            if tensor.shape[0] != samples:
                raise RunError(
                    f"{describe(method)} yielded a snapshot whose {name} has {tensor.shape[0]} rows, but there are {samples} prompts. "
                    "Yield one row for each; `problem.result` chooses one of several copies."
                )
            problem.checks.finite((tensor.detach(),), partial(_not_finite, method, name))
        if snapshot.x0.shape != problem.controls.noise.shape[1:]:
            raise RunError(
                f"{describe(method)} yielded a snapshot whose x0 has the shape {tuple(snapshot.x0.shape)}, but this run's latents have "
                f"{tuple(problem.controls.noise.shape[1:])}. Yield clean latents."
            )
        yield snapshot


def _not_finite(method: Method, name: str) -> NotFiniteError:
    return NotFiniteError(
        f"{describe(method)} yielded a snapshot whose {name} is not finite. The steering left the range in which the networks "
        "work: use a smaller learning rate or rho, or a stronger penalty."
    )


def _result(problem: Problem, last: Snapshot, best: Best | None) -> Look:
    """The method's result; if it was stopped early, the clean estimate with the best score so far, decoded by the full decoder."""
    if last.images is not None and last.scores is not None:
        return Look(last.x0.detach(), last.images.detach(), last.scores.detach())
    with torch.no_grad():
        return problem.look(best[0] if best else last.x0.detach())


def _salvaged(problem: Problem, best: Best | None) -> tuple[Look, str] | None:
    """The best so far if it can no longer be scored: decoded, with the score of its snapshot. None if it cannot be decoded either."""
    if best is None:
        return None
    try:
        with torch.no_grad():
            images = problem.backbone.decode(best[0])
    except (Exception, KeyboardInterrupt):
        return None
    if not torch.isfinite(images).all():
        return None
    return Look(best[0], images, best[1]), "the best so far could not be scored again, so its score is the one of its snapshot"


def _better(best: Best | None, snapshot: Snapshot) -> Best | None:
    """Each sample's clean latents with the highest score so far; the later ones if scores are equal."""
    if snapshot.scores is None:
        return best
    x0, scores = snapshot.x0.detach(), snapshot.scores.detach()
    if best is None:
        return x0, scores
    rows = scores >= best[1]
    return torch.where(rows.view(-1, 1, 1, 1), x0, best[0]), torch.where(rows, scores, best[1])


def _outcome(look: Look, reward: Reward) -> Outcome:
    return Outcome(look.images.clamp(0, 1), Scored(as_floats(look.scores), card_of(reward).unit, name_of(reward)))


def _row(snapshot: Snapshot, problem: Problem) -> TraceRow:
    """The numbers of a snapshot; one transfer reads them and the deferred checks from the device."""
    named = {("parts", name): value for name, value in snapshot.parts.items()}
    named |= {("penalties", name): value for name, value in snapshot.penalties.items()}
    scores, *read = problem.checks.read([torch.empty(0) if snapshot.scores is None else snapshot.scores, *named.values()])
    numbers = {key: tuple(values) for key, values in zip(named, read, strict=True)}
    parts, penalties = ({name: values for (kind, name), values in numbers.items() if kind == of} for of in ("parts", "penalties"))
    known = None if snapshot.scores is None else tuple(scores)
    return TraceRow(snapshot.index, snapshot.total, problem.ledger.elapsed, known, parts, penalties)
