"""One stock call steered by a method, for all custom pipelines."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypedDict, cast

from tta_core import Backbone, Snapshot, steering_hook
from tta_core.errors import InputError
from tta_core.plugins import resolve
from tta_core.plugins.discovery import plugins
from tta_core.plugins.presets import make
from tta_core.plugins.registry import nearest
from tta_core.protocols.method import Method
from tta_core.values.arguments import as_prompts, shown
from tta_plugins.methods.baselines import Fixed


class Steering(TypedDict, total=False):
    """Arguments of the custom pipelines' calls besides the stock call's.

    tta_method: a name, or a `Method` that updates step by step with one particle. None and "fixed" give the stock call.
    tta_reward: a name, or any function (images, prompts) -> scores.
    tta_settings: settings of a method that is given by its name.
    tta_seed: the seed of the method's random directions, if it samples any.
    tta_prompts: prompts for the reward, one for each image or one for each prompt of the call. None means the call's prompts.
    """

    tta_method: str | Method | None
    tta_reward: str | Callable[..., Any] | None
    tta_settings: Mapping[str, object] | None
    tta_seed: int
    tta_prompts: str | Sequence[str] | None


def steered_call(
    pipeline: object,
    stock: Callable[..., Any],
    args: Sequence[Any],
    given: Mapping[str, Any],
    guided: Callable[..., Backbone] | None = None,
) -> Any:
    """The result of the stock call, steered by the method. The method's snapshots are then in the pipeline's `tta_snapshots`.

    Args:
        pipeline: the pipeline that is called.
        stock: the call of its parent class.
        args, given: the stock call's arguments, and those of `Steering`.
        guided: makes the pipeline a backbone with a null branch, for pipelines whose `true_cfg_scale` adds one.

    Raises:
        InputError: a `tta_` argument is unknown or has no effect without a method, settings are given for a method that is not given by
            name, or the reward has no prompts.
        TTAError: `steering_hook` refuses the combination.
    """
    if unknown := sorted(name for name in given if name.startswith("tta_") and name not in Steering.__annotations__):
        raise InputError(f"No argument is called {unknown[0]}. {nearest(unknown[0], list(Steering.__annotations__))}")
    steering = cast(Steering, {name: value for name, value in given.items() if name in Steering.__annotations__})
    given = {name: value for name, value in given.items() if name not in steering}
    call = inspect.signature(stock).bind(pipeline, *args, **given).arguments
    method = _method(steering)
    snapshots: list[Snapshot] = []
    hook: AbstractContextManager[list[Snapshot]] = nullcontext(snapshots)
    if method is not None and not isinstance(method, Fixed):
        true = _true_guidance(call)
        hook = steering_hook(
            pipeline if guided is None or true is None else guided(pipeline),
            method,
            steering.get("tta_reward"),
            prompts=_prompts(call, steering),
            guidance=true,
            eta=call.get("eta"),
            seed=steering.get("tta_seed", 0),
        )
    with hook as snapshots:
        result = stock(pipeline, *args, **given)
    cast(Any, pipeline).tta_snapshots = snapshots
    return result


def _method(steering: Steering) -> Method | None:
    source, settings = steering.get("tta_method"), steering.get("tta_settings") or {}
    if source is None:
        if idle := sorted(name for name, value in steering.items() if value not in (None, 0)):
            raise InputError(f"{', '.join(idle)} has no effect without tta_method. Give a method, such as tta_method='date'.")
        return None
    if not settings:
        return resolve.method(source)
    if not isinstance(source, str):
        raise InputError(
            f"tta_settings needs a method that is given by its name, but tta_method is {shown(source)}. Give the settings to its class."
        )
    named = plugins().registry.find("methods", source).load()
    try:
        return resolve.method(make(named, settings))
    except TypeError as error:
        raise InputError(
            f"The method {source!r} does not take tta_settings={shown(settings)}: {error}. `tta show {source}` lists them."
        ) from error


def _true_guidance(call: Mapping[str, Any]) -> float | None:
    """The true guidance of FLUX's call, which its pipeline does not report; None if it reports it, or samples without a null branch."""
    true = call.get("true_cfg_scale", 1.0)
    negative = any(call.get(name) is not None for name in ("negative_prompt", "negative_prompt_embeds"))
    return true if negative and true > 1 else None


def _prompts(call: Mapping[str, Any], steering: Steering) -> tuple[str, ...]:
    """One prompt for each image of the call."""
    source = steering.get("tta_prompts") or call.get("prompt")
    if source is None:
        raise InputError("The reward needs prompts, but this call has only embeddings. Give tta_prompts.")
    prompts = as_prompts(source)
    embeds, each = call.get("prompt_embeds"), call.get("num_images_per_prompt") or 1
    images = each * (len(embeds) if embeds is not None else len(as_prompts(call["prompt"])))
    return tuple(prompt for prompt in prompts for _ in range(each)) if len(prompts) * each == images else prompts
