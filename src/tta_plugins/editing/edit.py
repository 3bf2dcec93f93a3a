"""Editing an image by text: computes the noises or embeddings that reproduce it, and then samples with any method that works step by
step."""

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any, Literal

import torch

from tta_core import Alignment, align, evolve, prepare
from tta_core.errors import InputError
from tta_core.plugins import resolve
from tta_core.protocols.backbone import Backbone
from tta_core.running.request import Request, takes
from tta_core.values.arguments import as_prompts, number, shown
from tta_core.values.noise import keyed_noises
from tta_plugins.editing.ddpm_inversion import ddpm_inversion
from tta_plugins.editing.null_text import NullTextInversion


@dataclass(frozen=True, eq=False, repr=False)
class Edit(Request):
    """The arguments of an edit; the docstring of `edit` explains those that `align` does not have."""

    _: KW_ONLY
    source: str | Sequence[str] = ""
    inversion: Literal["ddpm-inversion", "null-text"] | NullTextInversion = "ddpm-inversion"
    source_guidance: float = 3.5
    strength: float = 0.64


@takes(Edit)
def edit(request: Edit) -> Alignment:
    """Edit an image by another text with a method, and also by plain sampling from the same inversion.

    `edit("a blue square", image=image, source="a red circle", method="date")` takes the arguments of `align`, and:

    Args:
        prompts: the text of the edit; `image` is the image to edit.
        source: a description of the image; empty: the inversion has no text and no guidance.
        inversion: "ddpm-inversion" computes the noises of the last steps, a share `strength` of all, for a stochastic sampler (eta 1).
            "null-text" computes x_T and a null embedding for each step, for a deterministic sampler (eta 0), and uses all steps; for its
            settings give `NullTextInversion(...)`.
        source_guidance: the guidance of "ddpm-inversion". "null-text" uses the guidance of the edit.
        strength: for "ddpm-inversion", the share of the steps that are sampled again, 0.6 to 1 in the paper; a smaller share keeps more of
            the image.

    Returns:
        An `Alignment`, whose baseline is the plain edit. Its manifest contains source and inversion; its ledger does not count the
        inversion. With the source's text and guidance and the method "fixed", the result is the image, as the autoencoder reconstructs it.

    Raises:
        InputError: there is no image, or noises, latents or a null embedding are given, which the inversion computes.
        TTAError: the same errors as `align`.

    Source: edit-friendly DDPM inversion (arXiv 2304.06140), with 100 steps and guidance 15 for the edit; null-text inversion (arXiv
    2211.09794), with 50 steps and guidance 7.5. Together with DATE: DATE (arXiv 2510.23974), its editing application.
    """
    if request.image is None:
        raise InputError("There is no image to edit. Give `image=`, an image or a file, or use tta_core.align to generate a new one.")
    computed = {name: getattr(request, name) for name in ("noises", "latents")}
    for name in [name for name, value in computed.items() if value is not None]:
        raise InputError(f"{name} are given, but an edit computes them by inversion of the image. Leave them out, or use tta_core.align.")
    prompts, backbone = as_prompts(request.prompts), resolve.backbone(request.backbone)
    source = (request.source,) * len(prompts) if isinstance(request.source, str) else as_prompts(request.source, "source")
    if len(source) != len(prompts):
        raise InputError(f"{len(source)} source texts are given for {len(prompts)} prompts. Give one for all, or one for each.")
    request = replace(request, backbone=backbone, prompts=prompts)
    inversion = NullTextInversion() if request.inversion == "null-text" else request.inversion
    if isinstance(inversion, NullTextInversion):
        alignment = align(**_from_embeddings(request, source, inversion))
    elif inversion == "ddpm-inversion":
        alignment = align(**_from_noises(request, source, backbone))
    else:
        raise InputError(f'inversion is {shown(inversion)}, but it takes "ddpm-inversion", "null-text" or a NullTextInversion.')
    record = {"source": list(source), "inversion": repr(inversion), "source_guidance": request.source_guidance}
    return evolve(alignment, manifest={**alignment.manifest, "edit": record})


def _from_noises(request: Edit, source: Sequence[str], backbone: Backbone) -> dict[str, Any]:
    """The arguments of a run from the image, with the noises that reproduce it."""
    guidance = number("source_guidance", request.source_guidance) if any(source) and backbone.has_null else 1.0
    run = {**_plain(request), "eta": 1.0 if request.eta is None and isinstance(request.scheduler, str) else request.eta}
    with prepare(**{**run, **_unsteered(source), "guidance": guidance}) as prepared:
        problem = prepared.problem
        given = problem.controls.noise
        noises = keyed_noises(
            as_prompts(request.prompts), request.seed, backbone.latent_shape(*problem.size), given.device
        )  # the same as in the edit
        rows = torch.stack([noises(row, 0) for row in range(len(given))])
        return {**run, "noises": ddpm_inversion(evolve(problem, noises=noises, controls=evolve(problem.controls, noise=rows)))}


def _from_embeddings(request: Edit, source: Sequence[str], inversion: NullTextInversion) -> dict[str, Any]:
    """The arguments of a run from the image's x_T, with its null embeddings."""
    if request.null is not None:
        raise InputError("null is given, but null-text inversion computes the null embeddings. Leave it out, or use ddpm-inversion.")
    for name in ("strength", "source_guidance"):
        if getattr(request, name) != getattr(Edit, name):
            warnings.warn(
                f"{name} is {shown(getattr(request, name))}, but null-text inversion uses all steps and the guidance of the edit. Leave it "
                "out, or use ddpm-inversion.",
                stacklevel=2,
            )
    run = {
        **_plain(request),
        "strength": Request.strength,
        "eta": 0.0 if request.eta is None and isinstance(request.scheduler, str) else request.eta,
    }
    with prepare(**{**run, **_unsteered(source), "strength": 1.0}) as prepared, torch.enable_grad():
        problem = prepared.problem
        assert problem.origin is not None
        controls = inversion(problem, problem.origin)
    height, width = problem.size
    null = [controls.at(step.index).null for step in problem.steps]
    computed = {"latents": controls.noise[0], "null": null, "negative": None}  # the null embeddings were made from the negative prompts
    return {**run, "image": None, "height": height, "width": width, **computed}


def _plain(request: Edit) -> dict[str, Any]:
    """The arguments of `align`."""
    return {field.name: getattr(request, field.name) for field in fields(Request)}


def _unsteered(source: Sequence[str]) -> dict[str, Any]:
    return {"prompts": source, "method": "fixed", "text": None, "budget": None, "observers": ()}
