"""Hidden states of a CLIP text encoder before its last layers: the pipelines' `clip_skip`."""

import copy

from tta_core.errors import InputError
from tta_plugins.backbones.family import Pipeline


def checked(clip_skip: int | None, pipeline: Pipeline, encoder: str, always: int = 0) -> int | None:
    """The layers to leave out. Raises `InputError` for more than the text encoder has; its pipeline leaves out `always` by itself."""
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
    """The pipeline, whose `encode_prompt` looks for the last norm of its text encoder in `text_model`.

    transformers 5 keeps the norm in the encoder itself. A shallow copy of the pipeline then has an encoder with both.
    """
    encoder = pipeline.text_encoder
    if hasattr(encoder, "text_model"):
        return pipeline
    found, shallow = copy.copy(pipeline), copy.copy(encoder)
    vars(shallow)["text_model"] = encoder
    vars(found)["text_encoder"] = shallow
    return found
