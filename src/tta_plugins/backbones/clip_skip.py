"""Hidden states of a CLIP text encoder before its last layers: the pipelines' `clip_skip`."""

import copy
from typing import Any

from tta_core.errors import InputError
from tta_plugins.backbones.family import Pipeline


def checked(clip_skip: int | None, pipeline: Pipeline, encoder: str, always: int = 0) -> int | None:
    """The number of layers to leave out. Raises `InputError` for more than the text encoder has; its pipeline always leaves out `always`
    of them."""
    network = getattr(pipeline, encoder, None)
    if clip_skip is None or network is None:
        return clip_skip
    layers = network.config.num_hidden_layers - always
    if not 0 <= clip_skip <= layers:
        raise InputError(
            f"clip_skip is {clip_skip}, but {type(pipeline).__name__} can leave out 0 to {layers} layers of its text encoder. Give a "
            "number in this range, or None."
        )
    return clip_skip


def with_text_model(pipeline: Pipeline) -> Pipeline:
    """A pipeline whose text encoder has the attribute `text_model`, where `encode_prompt` looks for the last norm.

    transformers 5 keeps the norm in the encoder itself. Then this is a shallow copy of the pipeline, with a wrapped encoder.
    """
    if hasattr(pipeline.text_encoder, "text_model"):
        return pipeline
    wrapped = copy.copy(pipeline)
    vars(wrapped)["text_encoder"] = _WithTextModel(pipeline.text_encoder)
    return wrapped


class _WithTextModel:
    """The encoder, which is also its own `text_model`. It is not copied, because transformers would add its hooks to the layers again."""

    def __init__(self, encoder: Any) -> None:
        self.text_model = encoder

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.text_model(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.text_model, name)
