"""A FLUX.1 pipeline whose call also takes a method and a reward."""

from functools import partial
from typing import Any

from diffusers import FluxPipeline

from tta_plugins.backbones.flux import flux
from tta_plugins.custom_pipelines.steered_call import steered_call


class SteeredFluxPipeline(FluxPipeline):
    """The stock pipeline, with `tta_method=`, `tta_reward=` and the other arguments of `Steering` in its call."""

    def __call__(self, *args: Any, **given: Any) -> Any:
        """The stock call, steered by the method. Without a method, or with "fixed", the result is the stock call's, bit for bit."""
        return steered_call(self, FluxPipeline.__call__, args, given, guided=partial(flux, true_guidance=True))
