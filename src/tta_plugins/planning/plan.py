"""Predicts the cost of a run that is described and not loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from tta_core.running.prepare import prepare
from tta_core.values.typing import frozen
from tta_plugins.cost.evaluation_count import evaluation_count
from tta_plugins.cost.fake_mode import FakeMode
from tta_plugins.cost.forecast import Forecast, forecast
from tta_plugins.planning.pipeline_configuration import configuration_names, fake_backbone, pipeline_configuration
from tta_plugins.planning.reward_networks import has_reward_network, reward_network

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@frozen
class Plan:
    """A forecast, and the record of its memory policies."""

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
    """Predict the cost of `align` with these arguments.

    `backbone` is a shipped configuration ("sd15", "sdxl", "sd3", "flux", "pixart"), a folder in diffusers' layout, of which only the
    configurations are read, or a registered backbone that is small enough to load ("shapes"). The networks of published rewards are known
    by name; other rewards are created as in `align`. `dtype` is that of networks that are not loaded. Policies apply as in a run,
    including "auto" and sizes. `counted` is called with the rows through each network before FLOPs and memory are measured, which takes
    longer.
    """
    model: object = backbone
    scorer: object = reward
    if backbone in configuration_names() or Path(backbone).is_dir():
        mode = FakeMode()
        model = fake_backbone(pipeline_configuration(backbone), mode, dtype)
        if isinstance(reward, str) and has_reward_network(reward):
            scorer = reward_network(reward, mode, dtype)
    texts = [f"prompt {index}" for index in range(prompts)]
    with prepare(
        texts,
        backbone=model,
        method=method,
        reward=scorer,
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
