"""Connects a run to ComfyUI's progress bar, preview and Cancel. ComfyUI's modules are not imported, since it has loaded them already."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tta_core import Backbone, Embedding, Latents, Snapshot, Step
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.images import to_pil

PREVIEW = 512  # pixels, the longer side


def make_room() -> None:
    """Move ComfyUI's own models off the GPU, since ComfyUI cannot count the run's memory."""
    if management := sys.modules.get("comfy.model_management"):
        management.unload_all_models()


class ComfyUIRun:
    """The backbone and the observers of one run."""

    def __init__(self, backbone: Backbone, preview: bool) -> None:
        self._original = backbone
        self._bar: Any = None
        self.cancelled: BaseException | None = None
        self.backbone = WrappedBackbone(backbone, predicting=self._predict) if "comfy.model_management" in sys.modules else backbone
        self.observers = [self._progress, *([self._preview] if preview else [])]

    def _predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        with self._cancellable():
            sys.modules["comfy.model_management"].throw_exception_if_processing_interrupted()
        return self._original.predict(x, step, embedding)

    def _progress(self, snapshot: Snapshot) -> None:
        self._move(snapshot, None)

    def _preview(self, snapshot: Snapshot) -> None:
        if "comfy.utils" in sys.modules:
            with torch.no_grad():
                image = self._original.decode(snapshot.x0[:1]) if snapshot.images is None else snapshot.images
            self._move(snapshot, ("JPEG", to_pil(image[0]), PREVIEW))

    def _move(self, snapshot: Snapshot, image: object) -> None:
        if utils := sys.modules.get("comfy.utils"):
            self._bar = self._bar or utils.ProgressBar(snapshot.total)
            with self._cancellable():  # ComfyUI's own hook raises on Cancel too
                self._bar.update_absolute(snapshot.index + 1, snapshot.total, image)

    @contextmanager
    def _cancellable(self) -> Iterator[None]:
        """Convert ComfyUI's exception to `KeyboardInterrupt`, which ends a run even from isolated code."""
        management: Any = sys.modules.get("comfy.model_management")
        try:
            yield
        except BaseException as error:
            if management is None or not isinstance(error, management.InterruptProcessingException):
                raise
            self.cancelled = error
            raise KeyboardInterrupt from error


@contextmanager
def comfyui_run(backbone: Backbone, preview: bool) -> Iterator[ComfyUIRun]:
    """The backbone and observers of a run in ComfyUI. If it was cancelled, it raises ComfyUI's exception at the end. Outside ComfyUI it
    does nothing."""
    run = ComfyUIRun(backbone, preview)
    try:
        yield run
    except KeyboardInterrupt:
        if run.cancelled is None:
            raise
    if run.cancelled is not None:
        raise run.cancelled
