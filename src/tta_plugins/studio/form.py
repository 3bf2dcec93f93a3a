"""The left side of the page: the form for a run. Names, settings and their documentation come from the registry."""

import inspect
from typing import Any

import attrs
import gradio as gr

from tta_core.errors import TTAError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import Entry
from tta_plugins.studio.controls import Control
from tta_plugins.studio.request import Request


@attrs.frozen
class Form:
    """The boxes that every run has."""

    prompt: gr.Textbox
    backbone: gr.Dropdown
    method: gr.Dropdown
    reward: gr.Dropdown
    steps: gr.Textbox
    seed: gr.Textbox
    guidance: gr.Textbox
    negative: gr.Textbox
    seconds: gr.Textbox
    evaluations: gr.Textbox
    memory: gr.Dropdown
    settings: gr.Textbox

    @property
    def boxes(self) -> list[Any]:
        """All boxes, in the order of the fields."""
        return [getattr(self, field.name) for field in attrs.fields(Form)]

    @staticmethod
    def named(values: tuple[Any, ...]) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """The values of these boxes by name, and those of the boxes after them."""
        names = [field.name for field in attrs.fields(Form)]
        return dict(zip(names, values, strict=False)), values[len(names) :]


def form(prompt: gr.Textbox, add_settings: Any) -> Form:
    """Add the boxes below the prompt's to the open page. `add_settings` adds those of the method's settings, below its name."""
    plain = Request("")
    # without `interactive`, gradio disables the boxes that only the events of a part rendered later read
    live: dict[str, Any] = {"interactive": True}
    narrow: dict[str, Any] = {"min_width": 100, **live}
    backbone = gr.Dropdown(
        _ready_backbones(),
        value=plain.backbone,
        allow_custom_value=True,
        label="Model",
        info="A name, or a folder or hub id (owner/name) in diffusers' layout.",
        elem_id="model",
        **live,
    )
    reward = gr.Dropdown(_names("rewards"), value=plain.reward, label="Reward", elem_id="reward", **live)
    method = gr.Dropdown(_names("methods"), value=plain.method, label="Method", elem_id="method", **live)
    with gr.Accordion("Settings of the method", open=False, elem_id="settings"):
        add_settings(method)
    with gr.Row():
        steps = gr.Textbox("", label="Steps", placeholder="the model's", elem_id="steps", **narrow)
        seed = gr.Textbox("", label="Seed", placeholder=str(plain.seed), elem_id="seed", **narrow)
    with gr.Accordion("Budget", open=False), gr.Row():
        seconds = gr.Textbox("", label="Seconds", placeholder="no limit", **narrow)
        evaluations = gr.Textbox("", label="Evaluations", placeholder="no limit", info="Rows through the denoiser.", **narrow)
    with gr.Accordion("More", open=False, elem_id="more"):
        guidance = gr.Textbox("", label="Guidance", placeholder="the model's", info="Up to 1 is none.", **live)
        negative = gr.Textbox("", label="Negative prompt", **live)
        memory = gr.Dropdown(
            _names("memory"),
            value=[],
            multiselect=True,
            allow_custom_value=True,
            label="Memory policies",
            info="Applied in this order.",
            elem_id="memory",
            **live,
        )
        settings = gr.Textbox(
            "",
            label="Further settings",
            lines=2,
            placeholder="reward.reduce=mean",
            info="One PLACE.FIELD=VALUE per line, as in --set of `tta align`.",
            **live,
        )
    return Form(prompt, backbone, method, reward, steps, seed, guidance, negative, seconds, evaluations, memory, settings)


def box(control: Control) -> Any:
    """The box of one setting."""
    shared: dict[str, Any] = {
        "label": control.name,
        "info": control.about or None,
        "interactive": True,
        "elem_id": f"setting-{control.name}",
    }
    if control.kind == "check":
        return gr.Checkbox(bool(control.default), **shared)
    if control.kind in ("whole", "number"):
        return gr.Number(control.default, step=1 if control.kind == "whole" else 0.1, **shared)
    if control.kind == "choice":
        return gr.Dropdown(list(control.choices), value=control.default, **shared)
    if control.choices:
        return gr.Dropdown(list(control.choices), value=control.default, allow_custom_value=True, **shared)
    return gr.Textbox(control.default, placeholder="must be given" if control.default is None else None, **shared)


def _names(kind: str) -> list[tuple[str, str]]:
    return [_labelled(entry) for entry in plugins().registry.entries(kind)]


def _ready_backbones() -> list[tuple[str, str]]:
    """Backbones that need only their name. The others adapt a pipeline, which is given by its folder or hub id."""
    return [_labelled(entry) for entry in plugins().registry.entries("backbones") if not entry.pipelines and _made_without_arguments(entry)]


def _made_without_arguments(entry: Entry) -> bool:
    try:
        parameters = inspect.signature(entry.load()).parameters.values()  # type: ignore[arg-type]
    except (TTAError, TypeError, ValueError):  # a broken one is listed too: a run with it shows the error
        return True
    return all(parameter.default is not parameter.empty or parameter.kind in (2, 4) for parameter in parameters)


def _labelled(entry: Entry) -> tuple[str, str]:
    return (f"{entry.name}: {entry.summary}" if entry.summary else entry.name), entry.name
