"""`align`, the main function: it calls `prepare` and then `method.align(problem)`, which a user can also call."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tta_core.errors import InputError, RunError, TTAError
from tta_core.plugins import resolve
from tta_core.running.alignment import Alignment
from tta_core.running.attempts import attempted
from tta_core.running.request import Request, takes
from tta_core.running.run import run
from tta_core.running.torch_settings import plain_torch
from tta_core.running.watchers import check_observers
from tta_core.values.arguments import error_text, raised_at, shown
from tta_core.values.budget import Budget


@contextmanager
def _attributed() -> Iterator[None]:
    """An exception that a part raises outside of the run, for instance in a property, becomes a `RunError` that names the place."""
    try:
        yield
    except (TTAError, KeyboardInterrupt, Warning):  # a warning is raised if the user's warning filter is "error"
        raise
    except BaseException as error:
        raise RunError(
            f"{error_text(error)}. It was raised in {raised_at(error)}, outside of the run, where no part may raise. Report it "
            "to the author of the code there."
        ) from error


@takes(Request)
def align(request: Request) -> Alignment:
    """Sample each prompt so that its image scores higher, and also plainly from the same noise.

    Args:
        prompts: one text or several; each is aligned independently.
        backbone: a name, a loaded diffusers pipeline, a `Backbone`, or a folder or hub id in diffusers' layout, which goes onto the GPU in
            bfloat16 where there is one, else onto the CPU in float32.
        method: a name or a `Method`, such as `DATE(rho=0.5)`.
        reward: a name or any `(images, prompts) -> scores`, images `(b, 3, H, W)` in [0, 1]; higher is better.
        memory: a policy or several, by name or object, applied from left to right.
        scheduler: "native" reads the pipeline's own sampler; other names replace it; or a `Scheduler`.
        steps, guidance, height, width: None: the backbone's defaults.
        timesteps, sigmas: the sampler's own times or noise levels instead of `steps`, as the pipeline's call takes them.
        guidance: 1 or less switches it off, and only the text branch is evaluated, as in diffusers; a schedule gives each step its own.
        eta: 0 deterministic to 1 ancestral sampling; None: what the method's paper uses.
        seed: one for all prompts or one each. Noise is keyed by (seed, sample, step): batches do not change it.
        negative: negative prompt(s) for the null embedding.
        latents: x_T of each sample in units of the sampler's initial std, instead of keyed noise; further particles get keyed noise.
        noises: all noises, for repeating a published trajectory; see `GivenNoise`.
        text, null: embeddings to start from, instead of encoding the prompts: one for all steps, or a list of one for each step, such as
            the result of null-text inversion, or another run's `[controls.at(i).text for i in range(steps)]`.
        image: image(s) to start from, PIL or `(b, 3, H, W)` in [0, 1]; one is used for all prompts. Each particle adds its own noise.
        strength: the share of the steps that are run from that image: 1 runs all steps and keeps the least of the image.
        baseline: also sample each prompt plainly, from the same noise. False skips this run; methods then cannot reuse its evaluations.
        budget: stop at the first snapshot that exceeds it, with the clean estimate that scored best so far, sample by sample.
        observers: called with every snapshot.

    Returns:
        An `Alignment`. Ctrl-C ends the run early with the best result so far; `stopped` then gives the reason.

    Raises:
        TTAError: for everything that is refused: unknown names, parts that do not fit (before the first step), rewards that raise or return
            invalid scores. After the method's first snapshot the best result so far is kept: the error's `partial` is an `Alignment`. If
            one of several prompts fails, `partial` contains the finished results of the others.

    Warns:
        UserWarning: for arguments without effect, and for an observer or a plugin's hook that raised; the run goes on without it.
    """
    budget = request.budget
    if budget is not None and not isinstance(budget, Budget):
        raise InputError(f"budget is {shown(budget)}, but it takes a tta_core.Budget, such as Budget(seconds=60).")
    check_observers(request.observers)
    with plain_torch(), _attributed():
        backbone = resolve.backbone(request.backbone)
        policies = resolve.policies(request.memory)
        if budget is not None and budget.flops is not None:
            policies = (*policies, *resolve.policies("counted"))
        request = replace(request, backbone=backbone, reward=resolve.reward(request.reward, backbone))
        return attempted(request, policies, run)
