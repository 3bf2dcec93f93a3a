"""The problem that a method is given: start, at, look, score, gradient, sample."""

from collections.abc import Iterator, Mapping, Sequence

import attrs
import torch
from jaxtyping import Float64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tta_core.errors import InputError, NotFiniteError
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.memory import Decoder
from tta_core.protocols.method import Needs, Snapshot
from tta_core.protocols.reward import Reward
from tta_core.protocols.scheduler import Scheduler
from tta_core.solving import compatibility, steering
from tta_core.solving.checks import Checks
from tta_core.solving.decoding_errors import not_finite_images, without_graph
from tta_core.solving.look import Look
from tta_core.solving.plain import PlainRun
from tta_core.solving.position import Position
from tta_core.solving.scoring import scored
from tta_core.solving.trial import not_differentiable
from tta_core.values.controls import Controls, Embedding
from tta_core.values.ledger import Ledger
from tta_core.values.noise import NoiseSource, UniformSource
from tta_core.values.provenance import name_of
from tta_core.values.schedules import Schedule
from tta_core.values.trajectory import State, Step
from tta_core.values.transition import as_batch
from tta_core.values.typing import Images, Latents, Noises, Rows, Scores, evolve, frozen


@frozen
class Problem:
    """The argument of a method: backbone, scheduler, reward, prompts, controls and guidance.

    Attributes:
        prompts: one per sample; every tensor's rows follow them.
        size: height and width in pixels.
        controls: the unsteered controls. Methods return new ones and never change these.
        noises: the source of the children's noises.
        origin: clean latents that the trajectory starts from, noised to the first step; None: it starts from noise alone.
        guidance: weight of classifier-free guidance; up to 1 there is none, and the null branch is not evaluated. A schedule's differs by
            step.
        look_ahead_decoder: a cheaper decoder for looks inside the optimisation; None: the backbone's.
        segment: steps per checkpoint of a differentiated chain; None keeps all activations.
        loss_scale: see `Setup`.
        plain: outputs that plain sampling from the unsteered controls has already computed, if it was run.
        checks: the checks that images, scores and gradients are finite; `align` defers them to each snapshot.
        differentiable: whether the reward is called on images with a graph; `check` switches it off for methods that need no graph.
        tried: whether `check` has tried the reward, which it does once.
    """

    backbone: Backbone
    scheduler: Scheduler
    reward: Reward
    prompts: tuple[str, ...]
    controls: Controls
    noises: NoiseSource
    guidance: float | Schedule
    size: tuple[int, int]
    origin: Latents | None = None
    look_ahead_decoder: Decoder | None = None
    segment: int | None = None
    loss_scale: float = 1.0
    differentiable: bool = True
    tried: bool = False
    ledger: Ledger = attrs.field(factory=Ledger, repr=False)
    plain: PlainRun | None = attrs.field(default=None, repr=False)
    checks: Checks = attrs.field(factory=Checks, repr=False)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The sampler's steps, in sampling order."""
        return tuple(self.scheduler.steps)

    def start(self, controls: Controls, copies: int = 1) -> State:
        """x_T of each sample; with `copies` k of them, rows `(k b)`, the first from the controls."""
        return self.started(self.children(controls, 0, copies))

    def started(self, noises: Noises) -> State:
        """x_T from standard normals `(k, b, ...)`, rows `(k b)`; a start image is noised with them to the first step."""
        noise = noises.flatten(0, 1)
        if self.origin is None:
            return State(self.scheduler.initial_std * noise)
        first = self.steps[0]
        return State(first.a * as_batch(self.origin, noise.shape[0]) + first.s * noise)

    def children(self, controls: Controls, row: int, copies: int) -> Noises:
        """k noises of one row for each sample: first that of the controls, then new ones. Row i + 1 belongs to step i."""
        return torch.stack([controls.noise[row], *(self.noises(row, child) for child in range(1, copies))])

    def encode(self, prompts: Sequence[str]) -> Embedding:
        """The text embedding of other prompts than the run's, one for each sample, for edits."""
        with torch.no_grad():
            return self.backbone.encode(prompts, *self.size)

    def uniform(self, count: int, *key: int) -> Float64[Tensor, "count b"]:
        """`count` numbers from [0, 1) for each sample, keyed like its noise. Raises `InputError` if given noises have none."""
        if not isinstance(self.noises, UniformSource):
            raise InputError(
                f"The noises given ({type(self.noises).__name__}) have no `uniform(count, *key)`, which this method samples with. Add it, "
                "or give GivenNoise(rows, uniforms=...)."
            )
        return self.noises.uniform(count, *key)

    def at(self, state: State, step: Step) -> Position:
        """The point of a trajectory where predictions are made."""
        return Position(self, state, step, None if self.plain is None else self.plain.at(step.index, state.x.detach()))

    def sample(self, controls: Controls, start: State | None = None, first: int = 0) -> Latents:
        """Runs the sampling chain: returns x_0 for these controls. It begins at x_T, or at the state `start` before the step `first`.

        Differentiable; with `segment` set, activations are recomputed in the backward pass.
        """
        state = self.start(controls) if start is None else start
        for steps in self._segments(first):
            if self.segment is None or not torch.is_grad_enabled():
                state = self._run(state, controls, steps)
            else:
                state = checkpoint(self._run, state, controls, steps, use_reentrant=False)
        return state.x

    def _run(self, state: State, controls: Controls, steps: tuple[Step, ...]) -> State:
        for step in steps:
            state = self.at(state, step).predict(controls).sample(controls.noise[step.index + 1])
        return state

    def _segments(self, first: int) -> Iterator[tuple[Step, ...]]:
        size = self.segment or len(self.steps)
        return (self.steps[i : i + size] for i in range(first, len(self.steps), size))

    def look_ahead(self, x0: Latents, clamp: bool = True) -> Look:
        """Decode and score inside an optimisation, by the look-ahead decoder if there is one."""
        return self._look(self.look_ahead_decoder or self.backbone.decode, "look-ahead", x0, clamp)

    def look(self, x0: Latents, clamp: bool = True) -> Look:
        """Decode and score with the full decoder, to choose between candidates and for results."""
        return self._look(self.backbone.decode, "decode", x0, clamp)

    def _look(self, decode: Decoder, component: str, x0: Latents, clamp: bool) -> Look:
        if self.plain is not None and component == "decode" and clamp and (known := self.plain.end(x0)) is not None:
            for name in ("decode", "reward"):
                self.ledger.reuse(name, x0.shape[0])
            return known
        with torch.set_grad_enabled(torch.is_grad_enabled() and x0.requires_grad):
            images = self.ledger.forward(component, decode(x0), x0.shape[0])
            if torch.is_grad_enabled() and not images.requires_grad:
                raise without_graph(self.backbone, "decode")
        self.checks.finite((images.detach(),), self._not_finite_images)
        images = images.clamp(0, 1) if clamp else images
        return Look(x0, images, *self._scored(images))

    def result(
        self,
        total: int,
        controls: Controls,
        end: Latents | Look,
        clamp: bool = True,
        rows: Rows | None = None,
        readings: Mapping[str, Tensor] | None = None,
    ) -> Snapshot:
        """The last snapshot of a method that ends at these clean latents, or at a `Look` of them.

        Of several copies, rows `(k b)`, `rows` chooses one for each sample, by default the best; controls with noise for every copy are
        indexed in the same way.
        """
        with torch.no_grad():
            look = end if isinstance(end, Look) else self.look(end, clamp)
        if rows is None:
            rows = steering.best(look.scores, len(self.prompts))
        if controls.noise.shape[1] > len(rows):
            controls = controls[rows]
        look = look[rows]
        return Snapshot(total - 1, total, controls, look.x0, look.scores, parts=look.parts, images=look.images, readings=readings or {})

    def score(self, images: Images) -> Scores:
        """The reward of images, rows `(k b)`, checked."""
        return self._scored(images)[0]

    def _scored(self, images: Images) -> tuple[Scores, Mapping[str, Scores]]:
        prompts = self.prompts * (images.shape[0] // len(self.prompts))
        images = images if self.differentiable else images.detach()
        with torch.set_grad_enabled(torch.is_grad_enabled() and images.requires_grad):
            scores, parts = scored(self.reward, images, prompts, self.checks)
        return self.ledger.forward("reward", scores, images.shape[0]), parts

    def gradient(self, objective: Scores, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """d objective / d leaves: the gradient of each sample alone, since samples do not mix. Raises `NotFiniteError` for a NaN or
        infinity."""
        if not objective.requires_grad:
            if not torch.is_grad_enabled():
                raise InputError("Cannot differentiate under torch.no_grad(). Run the method outside of it.")
            raise not_differentiable(self.reward)
        gradient = torch.autograd.grad(objective.sum() * self.loss_scale, leaves, materialize_grads=True)
        gradient = tuple(tensor / self.loss_scale for tensor in gradient)
        self.checks.finite(gradient, self._not_finite_gradient)
        return gradient

    def _not_finite_images(self) -> NotFiniteError:
        return not_finite_images(self.backbone)

    def _not_finite_gradient(self) -> NotFiniteError:
        return NotFiniteError(
            f"The gradient of {name_of(self.reward)} through {name_of(self.backbone)} is not finite. Look for a square root or a "
            "logarithm at 0 in the reward; with memory='fp16', a smaller loss scale or bf16."
        )

    def check(self, needs: Needs) -> "Problem":
        """This problem, prepared for a method with these needs. Parts that cannot work together are refused here, before the first step.

        Raises:
            IncompatibleError: with the reason and a remedy.
        """
        compatibility.refuse(self, needs)
        if self.tried and self.differentiable == needs.gradient:
            return self
        return evolve(self, differentiable=needs.gradient, tried=True)
