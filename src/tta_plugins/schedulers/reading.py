"""What is read from a diffusers scheduler object: its class names, settings, training table and timetable. The object is never changed."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from tta_core.errors import IncompatibleError, InputError
from tta_core.scheduler import Output, Step
from tta_core.schedules import Schedule

Native = Any
Table = Float[Tensor, " t"]
Point = tuple[float, float]  # (a, s) of x = a x0 + s eps
Share = float | Schedule  # of the posterior's noise, that is drawn
Eta = Share | None  # None: the sampler's own

_OUTPUTS: Mapping[str, Output] = {
    "epsilon": "epsilon",
    "v_prediction": "v_prediction",
    "sample": "sample",
    "flow_prediction": "flow",
}


def is_a(native: Native, *classes: str) -> bool:
    """Whether its class, or one it inherits from, has one of these names; diffusers need not be imported to know."""
    return not {cls.__name__ for cls in type(native).__mro__}.isdisjoint(classes)


def is_flow(native: Native) -> bool:
    """Whether x = (1 - sigma) x0 + sigma eps: a flow-matching model."""
    return any(cls.__name__.startswith("FlowMatch") for cls in type(native).__mro__) or bool(setting(native, "use_flow_sigmas", False))


def setting(native: Native, name: str, default: Any) -> Any:
    """A setting that somebody chose. What the object merely took as its own class's default gives `default`.

    So a sampler read from another's settings starts as diffusers' `from_config` would.
    """
    config = native.config
    return default if name in config.get("_use_default_values", ()) else config.get(name, default)


def output_of(native: Native) -> Output:
    """What the network predicts."""
    if is_a(native, "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"):
        return "flow"
    kind = native.config.get("prediction_type", "epsilon")
    if kind not in _OUTPUTS:
        raise IncompatibleError(
            f"Cannot read {type(native).__name__} with prediction_type={kind!r}. This is because x0 and the noise are computed for "
            f"{', '.join(_OUTPUTS)} only. Set the prediction type that the network was trained with."
        )
    return _OUTPUTS[kind]


def timed(native: Native, steps: int, **timing: Any) -> Native:
    """A copy on which its own `set_timesteps` was called. Raises `InputError` for a number of steps that it refuses."""
    copied = copy.deepcopy(native)
    try:
        copied.set_timesteps(steps, device="cpu", **timing)
    except ValueError as error:
        raise InputError(f"{type(native).__name__} cannot take {steps} steps: {error}") from error
    return copied


def alphas_cumprod(native: Native) -> Table:
    """The training table of squared signal shares. Raises `IncompatibleError` for a sampler of flow-matching models."""
    if not isinstance(getattr(native, "alphas_cumprod", None), Tensor):
        raise IncompatibleError(
            f"Cannot read a diffusion sampler from {type(native).__name__}. This is because the model was trained without a table of "
            "betas, by flow matching. Use scheduler='native', 'flow-euler' or 'flow-sde'."
        )
    return cast(Table, native.alphas_cumprod.double().cpu())


def spaced(native: Native, steps: int, spacing: str, *, beyond: int = 0) -> list[float]:
    """Training times, latest first, as diffusers spaces them ("leading", "linspace" or "trailing").

    `beyond` more are counted and left out at the end, where a sampler reserves its last time. Source: arXiv 2305.08891, table 2.
    """
    trained, offset = int(native.config["num_train_timesteps"]), int(setting(native, "steps_offset", 0))
    if steps + beyond > trained:
        raise InputError(f"{steps} steps are more than the {trained} that the model was trained with.")
    count = steps + beyond
    if spacing == "trailing":
        return [float(round(trained - i * trained / steps) - 1) for i in range(steps)]
    if spacing == "leading":
        return [float((count - 1 - i) * (trained // count) + offset) for i in range(steps)]
    return [(trained - 1) * (count - 1 - i) / (count - 1) if count > 1 else 0.0 for i in range(steps)]


def sigmas_at(native: Native, times: Sequence[float]) -> list[float]:
    """Noise-to-signal ratios at training times, interpolated linearly between whole ones."""
    shares = alphas_cumprod(native)
    table = ((1 - shares) / shares).sqrt()
    at = torch.tensor(times, dtype=torch.float64)
    below = at.floor().long().clamp(0, len(table) - 2)
    return torch.lerp(table[below], table[below + 1], at - below).tolist()


def rows(
    native: Native, times: Sequence[float], here: Sequence[Point], after: Sequence[Point], *, scaled: bool = False, order: int = 1
) -> tuple[Step, ...]:
    """The table: one step for each time. `scaled` divides the network's input by sqrt(a^2 + s^2)."""
    alphas = None if is_flow(native) else _training_alphas(native)
    return tuple(
        Step(
            index=index,
            time=float(time),
            a=a,
            s=s,
            a_next=a_next,
            s_next=s_next,
            input_scale=(a * a + s * s) ** -0.5 if scaled else 1.0,
            alpha=None if alphas is None else float(alphas[min(max(round(time), 0), len(alphas) - 1)]),
            order=order,
        )
        for index, (time, (a, s), (a_next, s_next)) in enumerate(zip(times, here, after, strict=True))
    )


def floats(tensor: Tensor) -> list[float]:
    """A table as Python floats."""
    return cast(list[float], tensor.detach().double().cpu().tolist())


def _training_alphas(native: Native) -> Table:
    shares = alphas_cumprod(native)
    return shares / torch.cat([torch.ones(1, dtype=shares.dtype), shares[:-1]])
