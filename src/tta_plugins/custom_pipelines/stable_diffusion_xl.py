"""A Stable Diffusion XL pipeline whose call also takes a method and a reward."""

from typing import Any

from diffusers import StableDiffusionXLPipeline

from tta_plugins.custom_pipelines.steered_call import steered_call


class SteeredStableDiffusionXLPipeline(StableDiffusionXLPipeline):
    """The stock pipeline, with `tta_method=`, `tta_reward=` and the other arguments of `Steering` in its call."""

    def __call__(self, *args: Any, **given: Any) -> Any:
        """The stock call, steered by the method. Without a method, or with "fixed", the result is the stock call's, bit for bit."""
        return steered_call(self, StableDiffusionXLPipeline.__call__, args, given)
