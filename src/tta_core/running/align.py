"""`align`: the one front door. Nothing is hidden behind it: `prepare`, then `method.align(problem)`, is the same run."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from tta_core.errors import InputError
from tta_core.plugins import resolve
from tta_core.plugins.discovery import plugins
from tta_core.protocols.method import Snapshot
from tta_core.protocols.reward import Reward, card_of
from tta_core.running.alignment import Alignment, Outcome, Scored, TraceRow, as_floats
from tta_core.running.manifest import manifest_of
from tta_core.running.out_of_memory import attempted
from tta_core.running.prepare import Prepared
from tta_core.running.request import Request, takes
from tta_core.solving.look import Look
from tta_core.solving.plain import PlainRun
from tta_core.solving.problem import Problem
from tta_core.values.budget import Budget
from tta_core.values.ledger import Ledger
from tta_core.values.provenance import name_of
from tta_core.values.typing import Latents, Scores, evolve


@takes(Request)
def align(request: Request) -> Alignment:
    """Draw each prompt so that it scores higher, and once more plainly from the same noise.

    Args:
        prompts: one text or several; each is aligned as if alone.
        backbone: a name, a loaded diffusers pipeline, a `Backbone`, or a folder or hub id in diffusers' layout, which goes onto the GPU in
            bfloat16 where there is one, else onto the CPU in float32.
        method: a name or a `Method`, such as `DATE(rho=0.5)`.
        reward: a name or any `(images, prompts) -> scores`, images `(b, 3, H, W)` in [0, 1]; higher is better.
        memory: a policy or several, by name or object, applied from left to right.
        scheduler: "native" reads the pipeline's own sampler; other names swap it; a `Scheduler` passes.
        steps, guidance, height, width: the backbone's defaults where None.
        timesteps, sigmas: the sampler's own times or noise levels instead of `steps`, as the pipeline's call takes them.
        guidance: up to 1 there is none, and the text branch alone is evaluated, as in diffusers; a schedule gives each step its own.
        eta: 0 deterministic to 1 ancestral sampling; None: what the method's paper uses.
        seed: one for all prompts or one each. Noise is keyed by (seed, sample, step): batches do not change it.
        negative: negative prompt(s) for the null embedding.
        latents: x_T of each sample in units of the sampler's initial std, instead of keyed noise; further particles draw their own.
        noises: all noises, for repeating a published trajectory; see `GivenNoise`.
        text, null: embeddings to start from, instead of encoding the prompts.
        image: picture(s) to start from, PIL or `(b, 3, H, W)` in [0, 1]; one serves all prompts. Each particle noises it anew.
        strength: the share of the steps that are taken from there: 1 takes all, and keeps least of the picture.
        budget: stop at the first snapshot that exceeds it, with the clean estimate that scored best so far, sample by sample.
        observers: called with every snapshot.

    Returns:
        An `Alignment`. Ctrl-C ends the run early with the best so far, and says so in `stopped`.

    Raises:
        TTAError: for anything refused: unknown names, parts that do not fit (before the first step), rewards that misbehave.
    """
    budget, observers = request.budget, request.observers
    if budget is not None and not isinstance(budget, Budget):
        raise InputError(f"budget is {budget!r}, but it takes a tta_core.Budget, such as Budget(seconds=60).")
    if not isinstance(observers, Sequence) or not all(map(callable, observers)):
        raise InputError(f"observers is {observers!r}, but it takes a list of functions of a snapshot, such as [print].")
    drawing = resolve.backbone(request.backbone)
    policies = resolve.policies(request.memory)
    if budget is not None and budget.flops is not None:
        policies = (*policies, *resolve.policies("counted"))
    request = replace(request, backbone=drawing, reward=resolve.reward(request.reward, drawing))
    return attempted(request, policies, run)


Best = tuple[Latents, Scores]


def run(prepared: Prepared, *, retries: int = 0) -> Alignment:
    """Run a prepared problem, with its baseline from the same noise. `retries` goes into the ledger."""
    budget, observers = prepared.request.budget, prepared.request.observers
    problem, hooks = prepared.problem, plugins().hooks.hook
    ledger = problem.ledger.fresh()
    ledger.retries = retries
    with torch.no_grad(), ledger.phase("baseline"):
        known = PlainRun()
        baseline = evolve(problem, ledger=Ledger(), plain=known)
        plain = baseline.look(baseline.sample(baseline.controls))
        known.recording, known.look = False, plain
    problem = evolve(problem, ledger=ledger.restarted(), plain=known)
    hooks.tta_run_started(problem=problem)
    last, best, trace, stopped, interrupted = None, None, [], "", False
    try:
        with torch.enable_grad(), ledger.phase("method"):
            for snapshot in prepared.method.align(problem):
                last, best = snapshot, _better(best, snapshot)
                trace.append(_row(snapshot, ledger))
                for observer in observers:
                    observer(snapshot)
                hooks.tta_snapshot(snapshot=snapshot)
                stopped = budget.spent(ledger) if budget and snapshot.index + 1 < snapshot.total else ""
                if stopped:
                    break
    except KeyboardInterrupt:
        if last is None:
            raise
        stopped, interrupted = f"interrupted at {last.index + 1} of {last.total}", True
    with ledger.phase("result"):
        result = _result(problem, last, best) if last else plain
    alignment = Alignment(
        prompts=problem.prompts,
        result=_outcome(result, problem.reward),
        baseline=_outcome(plain, problem.reward),
        trace=tuple(trace),
        cost=ledger,
        manifest=manifest_of(prepared),
        stopped=stopped,
        interrupted=interrupted,
    )
    hooks.tta_run_finished(alignment=alignment)
    return alignment


def _result(problem: Problem, last: Snapshot, best: Best | None) -> Look:
    """What the method ended with; of one that was stopped before, the clean estimate that scored best, decoded in full."""
    if last.images is not None and last.scores is not None:
        return Look(last.x0.detach(), last.images.detach(), last.scores.detach())
    with torch.no_grad():
        return problem.look(best[0] if best else last.x0.detach())


def _better(best: Best | None, snapshot: Snapshot) -> Best | None:
    """Each sample's clean latents with the highest score so far; of equals, the later ones."""
    if snapshot.scores is None:
        return best
    x0, scores = snapshot.x0.detach(), snapshot.scores.detach()
    if best is None:
        return x0, scores
    rows = scores >= best[1]
    return torch.where(rows.view(-1, 1, 1, 1), x0, best[0]), torch.where(rows, scores, best[1])


def _outcome(look: Look, reward: Reward) -> Outcome:
    return Outcome(look.images.clamp(0, 1), Scored(as_floats(look.scores), card_of(reward).unit, name_of(reward)))


def _row(snapshot: Snapshot, ledger: Ledger) -> TraceRow:
    scores = None if snapshot.scores is None else as_floats(snapshot.scores)
    parts, penalties = ({name: as_floats(value) for name, value in named.items()} for named in (snapshot.parts, snapshot.penalties))
    return TraceRow(snapshot.index, snapshot.total, ledger.elapsed, scores, parts, penalties)
