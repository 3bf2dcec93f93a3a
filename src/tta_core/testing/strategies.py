"""Hypothesis strategies for the kernel's values; tensors are made from a seed and a scale, so that examples shrink well."""

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from tta_core.protocols.scheduler import GaussianScheduler, Output
from tta_core.testing.tables import flow_scheduler, ve_scheduler, vp_scheduler
from tta_core.values.controls import Controls, Embedding
from tta_core.values.schedules import Constant, Every, Fraction, Geometric, GeometricDecay, Schedule, Steps, Window
from tta_core.values.trajectory import Step
from tta_core.values.transition import GaussianTransition
from tta_core.values.typing import Images, Latents, Noises

SHAPE = (4, 4, 4)
OUTPUTS: tuple[Output, ...] = ("epsilon", "v_prediction", "flow", "sample")


def seeds() -> SearchStrategy[int]:
    """Seeds of a run."""
    return st.integers(0, 2**31 - 1)


def normals(*shape: int) -> SearchStrategy[Tensor]:
    """Normal tensors of one shape, scales from 0 to 10."""
    return st.builds(_normal, seeds(), st.sampled_from([1.0, 0.0, 0.1, 10.0]), st.just(shape))


def latents(batch: int = 2, shape: tuple[int, int, int] = SHAPE) -> SearchStrategy[Latents]:
    """Latents, or noises of one step."""
    return normals(batch, *shape)


def noises(copies: int = 3, batch: int = 2, shape: tuple[int, int, int] = SHAPE) -> SearchStrategy[Noises]:
    """Noises of several children, `(k, b, c, h, w)`."""
    return normals(copies, batch, *shape)


def images(batch: int = 2, size: tuple[int, int] = (8, 8)) -> SearchStrategy[Images]:
    """RGB in [0, 1]: colourful noise, smooth, nearly black, nearly white, and with saturated pixels."""
    return st.builds(_image, seeds(), st.sampled_from(["noise", "flat", "dark", "light", "saturated"]), st.just((batch, 3, *size)))


def prompts(batch: int = 2) -> SearchStrategy[list[str]]:
    """Texts as users write them: empty, long, not ASCII, repeated."""
    words = st.sampled_from(["", "a red circle", "two dogs, one asleep", "Ελλάδα", "雪山 ❄", "a" * 400, '50% off; "new"\n'])
    return st.lists(words | st.text(st.characters(codec="utf-8"), max_size=20), min_size=batch, max_size=batch)


def embeddings(
    batch: int = 2, tokens: int = 3, width: int = 8, pooled: int | None = None, masked: bool = False
) -> SearchStrategy[Embedding]:
    """One branch's conditioning."""
    return st.builds(
        Embedding,
        normals(batch, tokens, width),
        st.none() if pooled is None else normals(batch, pooled),
        st.just(torch.ones(batch, tokens, dtype=torch.int64)) if masked else st.none(),
    )


def controls(batch: int = 2, steps: int = 3, null: bool = True, pooled: int | None = 5) -> SearchStrategy[Controls]:
    """Everything that can be steered; `pooled` None leaves the pooled embeddings out."""
    branch = embeddings(batch, pooled=pooled)
    return st.builds(Controls, branch, branch if null else st.none(), noises(steps + 1, batch))


def transitions(batch: int = 2) -> SearchStrategy[GaussianTransition]:
    """Stochastic transitions."""
    return st.builds(GaussianTransition, latents(batch), st.floats(0.01, 10.0))


def tables(
    etas: SearchStrategy[float] | None = None, order: int = 1, outputs: SearchStrategy[Output] | None = None
) -> SearchStrategy[GaussianScheduler]:
    """Samplers of the three families, 1 to 50 steps, without flow matching with output "epsilon": there x0 is undefined at pure noise."""
    families = st.sampled_from([vp_scheduler, ve_scheduler, flow_scheduler])
    predicted = st.sampled_from(OUTPUTS) if outputs is None else outputs
    return st.builds(
        lambda family, steps, eta: family[0](steps, eta, family[1], order),
        st.tuples(families, predicted).filter(lambda family: family != (flow_scheduler, "epsilon")),
        st.integers(1, 50),
        st.sampled_from([0.0, 1.0, 0.3]) if etas is None else etas,
    )


def steps() -> SearchStrategy[Step]:
    """One row of any sampler's table."""
    return tables().flatmap(lambda scheduler: st.sampled_from(scheduler.steps))


def schedules() -> SearchStrategy[Schedule]:
    """Schedules and products of schedules."""
    shares = st.floats(0, 1)
    simple = st.one_of(
        st.builds(Constant, st.floats(-10, 10)),
        st.builds(Geometric, st.floats(0, 0.5)),
        st.builds(GeometricDecay, st.floats(0, 0.5)),
        st.builds(Every, st.integers(1, 20)),
        st.builds(Fraction, shares),
        st.builds(Window, shares, shares),
        st.builds(Steps, st.lists(st.integers(0, 60), max_size=5).map(tuple)),
    )
    return st.recursive(simple, lambda inner: st.builds(lambda first, second: first * second, inner, inner), max_leaves=3)


def _normal(seed: int, scale: float, shape: tuple[int, ...]) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _image(seed: int, kind: str, shape: tuple[int, ...]) -> Images:
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    flat = noise[..., :1, :1].expand(shape)
    bright = noise.mul(3).sub(1).clamp(0, 1)
    return {"noise": noise, "flat": flat, "dark": 0.02 * noise, "light": 1 - 0.02 * noise, "saturated": bright}[kind]
