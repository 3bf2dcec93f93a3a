"""Exports trained modules to the folders that are shipped: standard layouts, half precision, hashes."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel

from tta_plugins.shapes import fingerprint, models
from tta_plugins.shapes.load import SUMS, digest
from tta_plugins.shapes.tokenizer import make_tokenizer, save_tokenizer


def export_pipeline(
    weights: Path,
    vae: AutoencoderTiny,
    text: CLIPTextModel,
    unet: UNet2DConditionModel,
    scale: float,
) -> None:
    """Write weights/pipeline and the fingerprint of its text encoder."""
    folder = weights / "pipeline"
    vae.register_to_config(scaling_factor=scale)
    tokenizer = make_tokenizer()
    parts = {"vae": vae, "text_encoder": text, "unet": unet}
    for part in parts.values():
        part.to("cpu", torch.float32).eval()
    StableDiffusionPipeline(
        **parts,
        tokenizer=tokenizer,
        scheduler=models.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    save_tokenizer(folder / "tokenizer")
    for name in ("vae", "unet"):
        _rewrite(folder / name / "diffusion_pytorch_model.safetensors", lambda key: key)
    _rewrite(folder / "text_encoder" / "model.safetensors", _with_prefix)
    _drop_width(folder / "vae" / "config.json")
    record = {"prompt": fingerprint.PROMPT, "values": fingerprint.measure(text, tokenizer)}
    (weights / fingerprint.FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def export_clip(weights: Path, clip: CLIPModel) -> None:
    """Write weights/clip: model, tokenizer and image processor."""
    folder = weights / "clip"
    clip.to("cpu", torch.float32).eval().save_pretrained(folder)
    _rewrite(folder / "model.safetensors", lambda key: key)
    save_tokenizer(folder)
    models.image_processor().save_pretrained(folder)


def export_judge(weights: Path, network: nn.Module) -> None:
    """Write weights/judge."""
    folder = weights / "judge"
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    _save({key: _half(value) for key, value in state.items()}, folder / "model.safetensors")


def write_sums(weights: Path) -> None:
    """Write SHA256SUMS of all files in the folder, in the format of sha256sum."""
    files = sorted(file for file in weights.rglob("*") if file.is_file() and file.name != SUMS)
    lines = [f"{digest(file)}  {file.relative_to(weights).as_posix()}\n" for file in files]
    (weights / SUMS).write_text("".join(lines), encoding="utf-8")


def _rewrite(file: Path, rename: Callable[[str], str]) -> None:
    state = {rename(key): _half(value) for key, value in load_file(file).items()}
    _save(state, file)


def _save(state: dict[str, Tensor], file: Path) -> None:
    save_file(state, file, {"format": "pt"})
    file.chmod(0o644)  # safetensors writes files that only the owner can read


def _drop_width(file: Path) -> None:
    """Remove a key that AutoencoderTiny writes into its config and warns about when it reads it."""
    config = json.loads(file.read_text(encoding="utf-8"))
    del config["block_out_channels"]
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def _with_prefix(key: str) -> str:
    """transformers 5 writes CLIPTextModel without this prefix; 4 reads only names with it, and 5 reads both."""
    return key if key.startswith("text_model.") else f"text_model.{key}"
