"""The page: the form on the left, the run and its result on the right, earlier runs below."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import gradio as gr

from tta_core.errors import TTAError
from tta_core.plugins.discovery import plugins
from tta_plugins.studio.controls import Control, controls_of
from tta_plugins.studio.form import box, form
from tta_plugins.studio.history import Past, enlarged, read, runs_in
from tta_plugins.studio.job import Job, State
from tta_plugins.studio.request import request_of
from tta_plugins.studio.studio import Studio
from tta_plugins.studio.views import curve, status, summary

Update = dict[Any, Any]


@attrs.frozen
class Result:
    """The components that show a run. Stop ends the run with `number`; `folders` are those of the runs in the gallery."""

    status: gr.HTML
    look_ahead: gr.Image
    curve: gr.LinePlot
    slider: gr.ImageSlider
    record: gr.JSON
    record_around: gr.Accordion
    gallery: gr.Gallery
    number: gr.State
    folders: gr.State


def page(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    with gr.Blocks(title="tta studio", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML("<h1>tta studio</h1><p class='quiet'>Samples an image that scores higher, next to a plain image from the same noise.</p>")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                prompt = gr.Textbox(label="Prompt", lines=2, max_lines=4, placeholder="a red circle and a blue square", elem_id="prompt")
                with gr.Row():
                    # it does nothing until the method's settings are there, so until then it is disabled
                    start = gr.Button("Run", variant="primary", min_width=120, interactive=False, elem_id="run")
                    stop = gr.Button("Stop", min_width=120, interactive=False, elem_id="stop")
                boxes = form(prompt, lambda method: gr.render(inputs=method)(lambda name: settings_of(name)))
            with gr.Column(scale=3, min_width=320):
                result = _result()

        def follow(job: Job) -> Iterator[Update]:
            for state in job.changes():
                past = None if state.folder is None else read(state.folder)
                yield {
                    **_shown(result, state, past),
                    **({} if past is None else _kept(result, past)),
                    **(_history(result, studio) if state.over else {}),
                    result.number: job.number,
                    start: gr.update(interactive=state.over),
                    stop: gr.update(interactive=not state.over),
                }

        def opened() -> Iterator[Update]:
            yield _history(result, studio)
            job = studio.current
            if job is not None:
                yield from follow(job)

        def chosen(folders: list[str], event: gr.SelectData) -> Update:
            past = read(Path(folders[event.index]))
            if past is None:
                return {
                    result.status: "<div class='run failed' role='alert'><p>The folder of that run was removed or cannot be read.</p></div>"
                }
            return {result.status: f"<div class='run saved'>{summary(past)}</div>", **_kept(result, past)}

        shown = [result.status, result.look_ahead, result.curve, result.slider, result.record, result.record_around]
        everything = [*shown, result.gallery, result.folders, result.number, start, stop]

        def settings_of(method: str) -> None:
            controls, problem = _controls(method)
            if not controls:
                gr.HTML(f"<p class='quiet'>{html.escape(problem or 'It has no settings.')}</p>")
            made = [box(control) for control in controls]

            def run(*values: Any) -> Iterator[Update]:
                try:
                    job = studio.submit(request_of(*boxes.named(values), controls, method))
                except TTAError as error:
                    yield {result.status: status(State(phase="failed", message=str(error)), None)}
                else:
                    yield from follow(job)

            live: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
            gr.on([start.click, prompt.submit], run, [*boxes.boxes, *made], everything, **live)
            gr.on(None, lambda: gr.update(interactive=studio.current is None), None, start, **live)

        stop.click(studio.stop, result.number, None, queue=False)
        result.gallery.select(chosen, result.folders, shown, show_progress="hidden")
        blocks.load(opened, None, everything, concurrency_limit=None, show_progress="hidden")
    return blocks


def _result() -> Result:
    progress = gr.HTML("<div class='run'><p>There is no run on this page yet.</p></div>", elem_id="status")
    corner: list[Any] = ["fullscreen", "download"]  # and no button that shares an image elsewhere
    slider = gr.ImageSlider(
        label="Plain (left) and aligned (right)", type="pil", format="png", visible=False, interactive=False, elem_id="compare"
    )
    with gr.Row():
        look_ahead = gr.Image(
            label="Look-ahead", format="png", visible=False, interactive=False, min_width=200, elem_id="look-ahead", buttons=corner
        )
        plot = gr.LinePlot(curve(()), "snapshot", "reward", label="Reward of the look-ahead", height=260, min_width=200, visible=False)
    with gr.Accordion("The record (run.json)", open=False, visible=False, elem_id="record") as record_around:
        record = gr.JSON(show_label=False)
    gallery = gr.Gallery(
        label="Runs in the folder, the latest first",
        columns=4,
        fit_columns=False,
        height="auto",
        allow_preview=False,
        buttons=[],
        interactive=False,
        elem_id="history",
    )
    return Result(progress, look_ahead, plot, slider, record, record_around, gallery, gr.State(0), gr.State([]))


def _shown(result: Result, state: State, past: Past | None) -> Update:
    """The updates for a run's state. They hide the result of an earlier run."""
    has_image = state.look_ahead is not None
    updates: Update = {
        result.status: status(state, past),
        result.look_ahead: gr.update(value=enlarged(state.look_ahead) if state.look_ahead else None, visible=has_image and past is None),
        result.curve: gr.update(value=curve(state.rewards), visible=bool(state.rewards)),
    }
    if past is None:
        updates |= {hidden: gr.update(visible=False) for hidden in (result.slider, result.record_around)}
    return updates


def _kept(result: Result, past: Past) -> Update:
    """The updates for a saved run: its images and its record."""
    plain = past.baseline
    return {
        result.slider: gr.update(value=None if plain is None else (plain, past.aligned), visible=plain is not None),
        result.look_ahead: gr.update(value=past.aligned if plain is None else None, label="Aligned", visible=plain is None),
        result.curve: gr.update(value=curve(past.rewards), visible=bool(past.rewards)),
        result.record: dict(past.record),
        result.record_around: gr.update(visible=True),
    }


def _history(result: Result, studio: Studio) -> Update:
    runs = runs_in(studio.folder)
    images = [(past.aligned, f"{past.prompt} · {past.scores}") for past in runs]
    return {result.gallery: gr.update(value=images, visible=bool(runs)), result.folders: [str(past.folder) for past in runs]}


def _controls(method: str) -> tuple[list[Control], str]:
    """The settings of a method, and an error if they cannot be read; a run then shows the same error."""
    try:
        return controls_of(plugins().registry.find("methods", method)), ""
    except TTAError as error:
        return [], str(error)
