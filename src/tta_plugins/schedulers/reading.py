"""Reads a diffusers scheduler object: class names, settings, the training table and the times. The object is never changed."""

import copy
import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, cast

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.native_sampler import NativeSampler
from tta_core.protocols.scheduler import Output
from tta_core.values.schedules import Schedule
from tta_core.values.trajectory import Step

Table = Float[Tensor, " t"]
Shape = tuple[int, int, int]
Point = tuple[float, float]  # (a, s) of x = a x0 + s eps
Eta = float | Schedule | None  # the share of the posterior's noise that a step adds; None: the sampler's own

_OTHER_SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")

_OUTPUTS: Mapping[str, Output] = {
    "epsilon": "epsilon",
    "v_prediction": "v_prediction",
    "sample": "sample",
    "flow_prediction": "flow",
}


@attrs.frozen
class Native:
    """A backbone's scheduler object, with its pipeline's timing and the times that the user gave."""

    scheduler: Any
    sampler: NativeSampler

    @classmethod
    def of(cls, sampler: object) -> "Native":
        """From `backbone.sampler`. Raises `IncompatibleError` if it is not a diffusers scheduler."""
        native = NativeSampler.of(sampler)
        scheduler = native.scheduler
        if not isinstance(getattr(scheduler, "config", None), Mapping):
            raise IncompatibleError(
                f"Cannot read a sampler from {type(scheduler).__name__}. This is because it has no config, unlike a diffusers scheduler. "
                "Pass your own tta_core.Scheduler as scheduler=, such as a tta_core.GaussianScheduler with a table."
            )
        return cls(scheduler, native)

    @property
    def name(self) -> str:
        """The name of the scheduler's class."""
        return type(self.scheduler).__name__

    @property
    def config(self) -> Mapping[str, Any]:
        """All settings, including the defaults of its class."""
        return cast(Mapping[str, Any], self.scheduler.config)

    def setting(self, name: str, default: Any) -> Any:
        """The value of a setting that was chosen explicitly; `default` for a setting that the object took from its class's defaults.

        So a sampler that is made from another's settings starts with the same values as by diffusers' `from_config`.
        """
        return default if name in self.config.get("_use_default_values", ()) else self.config.get(name, default)

    def is_a(self, *classes: str) -> bool:
        """Whether its class, or a class that it inherits from, has one of these names; diffusers need not be imported for that."""
        return not {cls.__name__ for cls in type(self.scheduler).__mro__}.isdisjoint(classes)

    @property
    def is_flow(self) -> bool:
        """Whether the sampler is for a flow-matching model, x = (1 - sigma) x0 + sigma eps."""
        named = any(cls.__name__.startswith("FlowMatch") for cls in type(self.scheduler).__mro__)
        return named or bool(self.config.get("use_flow_sigmas", False))

    @property
    def output(self) -> Output:
        """The quantity that the network predicts. Raises `IncompatibleError` for an unknown prediction type."""
        kind = self.config.get("prediction_type", "flow_prediction" if self.is_flow else "epsilon")
        if kind not in _OUTPUTS:
            raise IncompatibleError(
                f"Cannot read {self.name} with prediction_type={kind!r}. This is because x0 and the noise are computed for "
                f"{', '.join(_OUTPUTS)} only. Set the prediction type that the network was trained with."
            )
        return _OUTPUTS[kind]

    @property
    def alphas_cumprod(self) -> Table:
        """The training table of squared signal shares. Raises `IncompatibleError` for a sampler of flow-matching models."""
        if not isinstance(getattr(self.scheduler, "alphas_cumprod", None), Tensor):
            flow = "The model was trained by flow matching: use scheduler='native', 'flow-euler', 'flow-sde' or 'dpm++2m'."
            other = "Give the pipeline a scheduler with one, or pass your own tta_core.GaussianScheduler as scheduler=."
            raise IncompatibleError(
                f"Cannot read a diffusion sampler from {self.name}. This is because it has no table of the training's betas. "
                f"{flow if self.is_flow else other}"
            )
        return cast(Table, self.scheduler.alphas_cumprod.double().cpu())

    def timed(self, steps: int, shape: Shape) -> Any:
        """A copy on which `set_timesteps` was called as the pipeline does. Raises `InputError` if that call fails."""
        if self.sampler.is_set:
            return self.scheduler
        # A solver's outputs of the last run may hold a graph, which cannot be copied; set_timesteps removes them anyway.
        past: dict[int, Any] = {id(value): [] for name, value in vars(self.scheduler).items() if name == "model_outputs"}
        copied = copy.deepcopy(self.scheduler, past)
        arguments = {**self.sampler.timing(steps, shape), **self._given(copied)}
        count = () if {"timesteps", "sigmas"} & set(arguments) else (steps,)  # diffusers' pipelines pass one or the other
        try:
            copied.set_timesteps(*count, device="cpu", **arguments)
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.name} cannot use {self._requested(steps)}: {error}") from error
        return copied

    def _given(self, scheduler: Any) -> Mapping[str, object]:
        own = {"timesteps": self.sampler.timesteps, "sigmas": self.sampler.sigmas}
        given = {name: list(values) for name, values in own.items() if values is not None}
        for name in given:
            if name not in inspect.signature(scheduler.set_timesteps).parameters:
                raise InputError(
                    f"Cannot use {name} with {self.name}. This is because its `set_timesteps` takes none. Leave them out, or use "
                    "scheduler='euler', 'dpm++2m' or 'ddpm', which take timesteps."
                )
        return {**({"sigmas": None} if "timesteps" in given and self.is_flow else {}), **given}

    def _requested(self, steps: int) -> str:
        own = {"timesteps": self.sampler.timesteps, "sigmas": self.sampler.sigmas}
        return next((f"the {name} {list(values)}" for name, values in own.items() if values), f"{steps} steps")

    def spaced(self, steps: int, spacing: str, *, beyond: int = 0) -> list[float]:
        """The user's training times; else latest first, spaced as by diffusers ("leading", "linspace" or "trailing").

        For a sampler that reserves its last times, `beyond` more times are spaced, and left out at the end. Source: arXiv 2305.08891,
        table 2.
        """
        if self.sampler.sigmas is not None:
            raise InputError(
                f"Cannot use sigmas with a sampler that replaces {self.name}. This is because it is made from training times. "
                "Give timesteps, or leave scheduler='native'."
            )
        trained, offset, count = int(self.config["num_train_timesteps"]), int(self.setting("steps_offset", 0)), steps + beyond
        if self.sampler.timesteps is not None:
            return self._own_times(trained)
        if count > trained:
            raise InputError(f"{steps} steps are more than the {trained} that the model was trained with.")
        if spacing == "trailing":
            return [float(round(trained - i * trained / steps) - 1) for i in range(steps)]
        if spacing == "leading":
            return [float((count - 1 - i) * (trained // count) + offset) for i in range(steps)]
        return [(trained - 1) * (count - 1 - i) / (count - 1) if count > 1 else 0.0 for i in range(steps)]

    def _own_times(self, trained: int) -> list[float]:
        times = [float(time) for time in self.sampler.timesteps or ()]
        if not all(0 <= time < trained for time in times) or any(one <= other for one, other in pairwise(times)):
            raise InputError(f"timesteps are {times}, but they must fall, from below {trained} to at least 0. Give falling times.")
        return times

    def sigmas_at(self, times: Sequence[float]) -> list[float]:
        """Noise-to-signal ratios at training times, interpolated linearly between whole times. A share of zero counts as 2^-24, as in
        diffusers. Warns of the settings by which the scheduler would choose other ratios."""
        ignored = [name for name in _OTHER_SIGMAS if self.config.get(name)]
        ignored += ["final_sigmas_type"] if self.setting("final_sigmas_type", "zero") != "zero" else []
        if ignored:
            warnings.warn(
                f"The sampler that replaces {self.name} does not use its {', '.join(ignored)}: its steps are spaced in time. Leave "
                "scheduler='native', or give the pipeline a scheduler of the other class with these settings.",
                stacklevel=3,
            )
        shares = self.alphas_cumprod.clamp(min=2**-24)
        table = ((1 - shares) / shares).sqrt()
        at = torch.tensor(times, dtype=torch.float64, device="cpu")
        below = at.floor().long().clamp(0, len(table) - 2)
        return floats(torch.lerp(table[below], table[below + 1], at - below))

    def rows(
        self, times: Sequence[float], here: Sequence[Point], after: Sequence[Point], *, scaled: bool = False, order: int = 1
    ) -> tuple[Step, ...]:
        """The table: one step for each time. `scaled` divides the network's input by sqrt(a^2 + s^2)."""
        if not all(math.isfinite(number) for number in (*times, *chain(*here), *chain(*after))):
            raise InputError(
                f"{self.name} has no times for {len(times)} steps: it gives {[float(time) for time in times]}. With `shift_terminal` it "
                "divides by zero at one step. Use more steps."
            )
        alphas = None if self.is_flow else self._training_alphas()
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

    def _training_alphas(self) -> Table:
        shares = self.alphas_cumprod
        return shares / torch.cat([shares.new_ones(1), shares[:-1]])


def floats(tensor: Tensor) -> list[float]:
    """A table as Python floats."""
    return cast(list[float], tensor.detach().double().cpu().tolist())
