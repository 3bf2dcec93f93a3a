"""Recognises pipelines that were distilled to few steps, and chooses their number of steps.

LCM and TCD schedulers are made for few steps, and so are models with certain names (turbo, lightning, hyper, schnell, dmd). A less certain
sign is an Euler sampler with "trailing" times on a model that predicts the noise, as in SD-Turbo, SDXL-Turbo and SDXL-Lightning.
"""

import re

from tta_plugins.backbones.family import Pipeline

STEPS = 4
_NAMES = re.compile(r"turbo|lightning|hyper-?sd|schnell|lcm|dmd|distilled", re.IGNORECASE)


def few_steps(pipeline: Pipeline) -> tuple[int, str] | None:
    """(steps, a warning or "") of a distilled pipeline, which is run without guidance; None for any other pipeline."""
    scheduler = getattr(pipeline, "scheduler", None)
    kinds, config = {cls.__name__ for cls in type(scheduler).__mro__}, getattr(scheduler, "config", {})
    if kinds & {"LCMScheduler", "TCDScheduler", "FlowMatchLCMScheduler"}:
        return STEPS, ""
    name = str(getattr(pipeline, "config", {}).get("_name_or_path") or "").rstrip("/").split("/")[-1]
    if _NAMES.search(name):
        return (8 if "z-image" in name.lower() else STEPS), ""
    trailing = config.get("timestep_spacing") == "trailing" and config.get("prediction_type", "epsilon") == "epsilon"
    if kinds & {"EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"} and trailing:
        return STEPS, (
            f"{type(pipeline).__name__} looks distilled (an Euler sampler with trailing times): it runs {STEPS} steps without guidance. "
            "Give steps and guidance to choose them yourself."
        )
    return None
