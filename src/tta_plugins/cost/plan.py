"""The forecast of a run that is described, not loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from tta_core.running.prepare import prepare
from tta_core.values.typing import frozen
from tta_plugins.cost.evaluation_count import evaluation_count
from tta_plugins.cost.forecast import Forecast, forecast
from tta_plugins.cost.pipeline_configuration import configuration_names, fake_backbone, pipeline_configuration
from tta_plugins.cost.reward_networks import has_reward_network, reward_network

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@frozen
class Plan:
    """A forecast, and the record of the memory policies that it was made under."""

    forecast: Forecast
    memory: tuple[str, ...]


def planned(
    *,
    backbone: str = "sd15",
    method: object = "date",
    reward: object = "clip",
    memory: object = (),
    scheduler: object = "native",
    steps: int | None = None,
    guidance: float | None = None,
    height: int | None = None,
    width: int | None = None,
    prompts: int = 1,
    dtype: torch.dtype = torch.bfloat16,
    counted: Callable[[Mapping[str, int]], object] | None = None,
) -> Plan:
    """What `align` with these arguments would cost.

    `backbone` is a shipped configuration ("sd15", "sdxl", "sd3", "flux", "pixart"), a folder whose configurations alone are read, or a
    registered backbone that is small enough to load ("shapes"). Of published rewards the networks are known by name; others are made as
    `align` makes them. `dtype` is that of networks that are not loaded. Policies apply as they do in a run, "auto" and sizes too.
    `counted` is called with the rows through each network as soon as they are known, before the rest, which takes longer.
    """
    drawing: object = backbone
    judge: object = reward
    if backbone in configuration_names() or Path(backbone).is_dir():
        drawing = built = fake_backbone(pipeline_configuration(backbone), dtype)
        if isinstance(reward, str) and has_reward_network(reward):
            judge = reward_network(reward, built, dtype)
    texts = [f"prompt {index}" for index in range(prompts)]
    with prepare(
        texts,
        backbone=drawing,
        method=method,
        reward=judge,
        memory=memory,
        scheduler=scheduler,
        steps=steps,
        guidance=guidance,
        height=height,
        width=width,
    ) as prepared:
        rows = evaluation_count(prepared.setup)
        if counted is not None:
            counted(rows)
        return Plan(forecast(prepared.setup, rows), prepared.memory)
