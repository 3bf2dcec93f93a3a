"""Backbones made from configurations alone: the real classes and shapes, without weights and downloads."""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import diffusers
import torch
import transformers
from torch import nn

from tta_core.errors import LoadError, UnknownNameError
from tta_core.plugins import resolve
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.arguments import error_text
from tta_core.values.controls import Embedding
from tta_plugins.backbones.vetting import index_of, json_object, parts_of
from tta_plugins.cost.fake_mode import FakeMode
from tta_plugins.cost.fake_networks import fake_network

Config = Mapping[str, Any]
CONFIGURATIONS = Path(__file__).parent / "configurations"


@attrs.frozen
class PipelineConfiguration:
    """Configurations as diffusers writes them, each with its `_class_name`, and the number of parameters of all text encoders."""

    pipeline: str
    denoiser: Config
    vae: Config
    scheduler: Config
    text_parameters: int
    summary: str = ""


def pipeline_configuration(name: str) -> PipelineConfiguration:
    """A shipped configuration ("sd15", "flux", "qwen-image"; see `configuration_names`), or that of a folder in diffusers' layout.

    Raises:
        UnknownNameError: the name is neither that of a shipped configuration nor a folder.
        LoadError: the folder lacks the configurations.
    """
    shipped = CONFIGURATIONS / f"{name}.json"
    if shipped.is_file():
        return PipelineConfiguration(**json.loads(shipped.read_text(encoding="utf-8")))
    if not Path(name).is_dir():
        raise UnknownNameError(
            f"No configuration is called {name!r}, and there is no such folder. Known: {', '.join(configuration_names())}."
        )
    return _from_folder(Path(name))


def configuration_names() -> list[str]:
    """The names of the shipped configurations."""
    return sorted(path.stem for path in CONFIGURATIONS.glob("*.json"))


def fake_backbone(plan: PipelineConfiguration, mode: FakeMode, dtype: torch.dtype) -> Backbone:
    """The backbone with fake parameters of this dtype. It encodes every prompt to zeros."""
    made = [(_class(config), dict(config)) for config in (plan.denoiser, plan.vae)]
    try:
        with torch.device("meta"), made_in(dtype):  # so that initial weights are not computed
            denoiser, vae = (cls.from_config(config).eval() for cls, config in made)
    except Exception as error:
        raise LoadError(f"The networks of {plan.summary} cannot be built from their configurations: {error_text(error)}.") from error
    with torch.device("meta"), made_in(dtype):
        encoders = nn.ParameterList([nn.Parameter(torch.zeros(plan.text_parameters))])
    denoiser, vae, encoders = (fake_network(network, mode) for network in (denoiser, vae, encoders))
    pipeline = _assembled(plan, denoiser, vae)
    pipeline.text_encoder = encoders
    with mode:
        backbone = resolve.backbone(pipeline)
    encode = _ZeroEmbeddings(plan.denoiser, denoiser.config)
    return WrappedBackbone(backbone, encoding=encode, encoding_null=encode if backbone.has_null else _no_null)


@contextmanager
def made_in(dtype: torch.dtype) -> Iterator[None]:
    """Networks that are created in this context have parameters of this dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _assembled(plan: PipelineConfiguration, denoiser: nn.Module, vae: nn.Module) -> Any:
    cls = getattr(diffusers, plan.pipeline)
    given = {
        "unet": denoiser,
        "transformer": denoiser,
        "vae": vae,
        "scheduler": _class(plan.scheduler).from_config(dict(plan.scheduler)),
        "requires_safety_checker": False,
    }
    names = cls._get_signature_keys(cls)
    return cls(**{name: given.get(name) for name in (*names[0], *names[1]) if name in given or name in names[0]})


def _class(config: Config) -> Any:
    found = getattr(diffusers, str(config.get("_class_name")), None)
    if not isinstance(found, type):
        raise LoadError(f"A configuration names the class {config.get('_class_name')!r}, which diffusers {diffusers.__version__} lacks.")
    return found


def _no_null(prompts: Sequence[str | None], height: int, width: int) -> None:
    """The null embedding of a family without an unconditional branch."""


# For each transformer: the number of text tokens, the setting with the number of their features, and whether they have a mask.
_TEXTS = {
    "SD3Transformer2DModel": (77 + 256, "joint_attention_dim", False),
    "FluxTransformer2DModel": (512, "joint_attention_dim", False),
    "Flux2Transformer2DModel": (512, "joint_attention_dim", False),
    "ChromaTransformer2DModel": (512, "joint_attention_dim", False),
    "AuraFlowTransformer2DModel": (256, "joint_attention_dim", False),
    "QwenImageTransformer2DModel": (512, "joint_attention_dim", True),
    "ZImageTransformer2DModel": (512, "cap_feat_dim", True),
    "Lumina2Transformer2DModel": (256, "cap_feat_dim", True),
    "SanaTransformer2DModel": (300, "caption_channels", True),
}


@attrs.frozen
class _ZeroEmbeddings:
    """Embeddings of zeros in the shapes that a denoiser's configuration determines; `full` includes the defaults of its class."""

    config: Config
    full: Config

    def __call__(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding:
        rows, kind = len(prompts), self.config["_class_name"]
        if kind == "UNet2DConditionModel":
            projected = self.full["encoder_hid_dim"]  # Kolors': as many features as ChatGLM3 gives, projected by the U-Net
            tokens = torch.zeros(rows, 256, projected) if projected else torch.zeros(rows, 77, self.full["cross_attention_dim"])
            if self.full["addition_embed_type"] != "text_time":
                return Embedding(tokens)
            pooled = self.full["projection_class_embeddings_input_dim"] - 6 * self.full["addition_time_embed_dim"]
            return Embedding(tokens, torch.zeros(rows, pooled), extra={"time_ids": torch.zeros(rows, 6)})
        if kind == "PixArtTransformer2DModel":
            large, conditions = self.full["sample_size"] == 128, self.full["use_additional_conditions"]
            conditions = large if conditions is None else conditions
            length = 300 if large and not conditions else 120
            extra = {"resolution": torch.zeros(rows, 2), "aspect_ratio": torch.zeros(rows, 1)} if conditions else {}
            mask = torch.ones(rows, length, dtype=torch.long)
            return Embedding(torch.zeros(rows, length, self.full["caption_channels"]), mask=mask, extra=extra)
        if kind == "HunyuanDiT2DModel":
            length = self.full["text_len"] + self.full["text_len_t5"]
            width = max(self.full["cross_attention_dim"], self.full["cross_attention_dim_t5"])
            mask = torch.ones(rows, length, dtype=torch.long)
            return Embedding(torch.zeros(rows, length, width), mask=mask, extra={"image_meta_size": torch.zeros(rows, 6)})
        if kind not in _TEXTS:
            raise LoadError(f"The shapes of the text embeddings of {kind} are not known. Plan with a loaded pipeline instead.")
        count, features, masked = _TEXTS[kind]
        vector = torch.zeros(rows, self.full["pooled_projection_dim"]) if "pooled_projection_dim" in self.full else None
        text_mask = torch.ones(rows, count, dtype=torch.long) if masked else None
        return Embedding(torch.zeros(rows, count, self.full[features]), vector, text_mask)


def _from_folder(folder: Path) -> PipelineConfiguration:
    try:
        index = index_of(folder)
        parts_of(index, str(folder))
        denoiser = next(name for name in ("unet", "transformer") if name in index)
        return PipelineConfiguration(
            pipeline=index["_class_name"],
            denoiser=json_object(folder / denoiser / "config.json"),
            vae=json_object(folder / "vae" / "config.json"),
            scheduler=json_object(folder / "scheduler" / "scheduler_config.json"),
            text_parameters=_text_parameters(folder, index),
            summary=str(folder),
        )
    except (OSError, StopIteration, ValueError) as error:
        raise LoadError(
            f"{folder} lacks configurations of a diffusers pipeline: {type(error).__name__}: {error}. It needs model_index.json, and "
            "config.json in unet or transformer and in vae."
        ) from error


def _text_parameters(folder: Path, index: Config) -> int:
    total = 0
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        library, cls = index.get(name) or (None, None)
        module = transformers if library == "transformers" else getattr(diffusers.pipelines, library or "", None)
        if module is not None and cls:
            make: Any = getattr(module, cls)
            # ChatGLM of Kolors allocates its parameters on the device in this argument
            own = {"device": "meta"} if "device" in inspect.signature(make).parameters else {}
            with torch.device("meta"):
                total += sum(parameter.numel() for parameter in make(make.config_class.from_pretrained(folder / name), **own).parameters())
    return total
