"""Editing an image by text: finds the inputs that reproduce it, then any method that works step by step makes the edit."""

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
    """The arguments of an edit; `edit` says what those that `align` has not mean."""

    _: KW_ONLY
    source: str | Sequence[str] = ""
    inversion: Literal["ddpm-inversion", "null-text"] | NullTextInversion = "ddpm-inversion"
    source_guidance: float = 3.5
    strength: float = 0.64


@takes(Edit)
def edit(request: Edit) -> Alignment:
    """Edit an image by another text with a method, and also plainly from the same inversion.

    `edit("a blue square", image=image, source="a red circle", method="date")` takes the arguments of `align`, and:

    Args:
        prompts: the text of the edit; `image` is the image to edit.
        source: a description of the image; empty: the inversion has no text and no guidance.
        inversion: "ddpm-inversion" finds the noises of the last `strength` of the steps, for a stochastic sampler (eta 1); "null-text"
            finds x_T and a null embedding for each step, for a deterministic one (eta 0), and takes all steps. Its settings:
            `NullTextInversion(...)`.
        source_guidance: of "ddpm-inversion". "null-text" inverts for the guidance of the edit.
        strength: of "ddpm-inversion": the share of the steps that are sampled again, 0.6 to 1 in the paper; less keeps more of the image.

    Returns:
        An `Alignment`, whose baseline is the plain edit. Its manifest names source and inversion; its ledger leaves the inversion out.
        With the source's text and guidance and the method "fixed" it is the image again, as the autoencoder gives it back.

    Raises:
        InputError: there is no image, or noises, latents or a null embedding were given that the inversion finds itself.
        TTAError: as `align`.

    Source: edit-friendly DDPM inversion (arXiv 2304.06140), with 100 steps and guidance 15 for the edit; null-text inversion (arXiv
    2211.09794), with 50 steps and guidance 7.5. With DATE on top: DATE (arXiv 2510.23974), its editing application.
    """
    if request.image is None:
        raise InputError("There is no image to edit. Give `image=`, an image or a file, or draw anew with tta_core.align.")
    found = {name: getattr(request, name) for name in ("noises", "latents")}
    for name in [name for name, value in found.items() if value is not None]:
        raise InputError(f"{name} are given, but an edit finds them by inversion of the image. Leave them out, or use tta_core.align.")
    prompts, drawing = as_prompts(request.prompts), resolve.backbone(request.backbone)
    source = (request.source,) * len(prompts) if isinstance(request.source, str) else as_prompts(request.source)
    if len(source) != len(prompts):
        raise InputError(f"{len(source)} source texts are given for {len(prompts)} prompts. Give one for all, or one for each.")
    request = replace(request, backbone=drawing, prompts=prompts)
    inversion = NullTextInversion() if request.inversion == "null-text" else request.inversion
    if isinstance(inversion, NullTextInversion):
        alignment = align(**_from_embeddings(request, source, inversion))
    elif inversion == "ddpm-inversion":
        alignment = align(**_from_noises(request, source, drawing))
    else:
        raise InputError(f'inversion is {shown(inversion)}, but it takes "ddpm-inversion", "null-text" or a NullTextInversion.')
    record = {"source": list(source), "inversion": repr(inversion), "source_guidance": request.source_guidance}
    return evolve(alignment, manifest={**alignment.manifest, "edit": record})


def _from_noises(request: Edit, source: Sequence[str], drawing: Backbone) -> dict[str, Any]:
    """The run from the image at the first of the last steps, with the noises that reproduce it."""
    guidance = number("source_guidance", request.source_guidance) if any(source) and drawing.has_null else 1.0
    run = {**_plain(request), "eta": 1.0 if request.eta is None and isinstance(request.scheduler, str) else request.eta}
    with prepare(**{**run, **_unsteered(source), "guidance": guidance}) as prepared:
        problem = prepared.problem
        given = problem.controls.noise
        noises = keyed_noises(
            as_prompts(request.prompts), request.seed, drawing.latent_shape(*problem.size), given.device
        )  # as those of the edit
        rows = torch.stack([noises(row, 0) for row in range(len(given))])
        return {**run, "noises": ddpm_inversion(evolve(problem, noises=noises, controls=evolve(problem.controls, noise=rows)))}


def _from_embeddings(request: Edit, source: Sequence[str], inversion: NullTextInversion) -> dict[str, Any]:
    """The run from the image's x_T, with its null embeddings."""
    if request.null is not None:
        raise InputError("null is given, but null-text inversion finds the null embeddings. Leave it out, or use ddpm-inversion.")
    run = {**_plain(request), "eta": 0.0 if request.eta is None and isinstance(request.scheduler, str) else request.eta}
    with prepare(**{**run, **_unsteered(source), "strength": 1.0}) as prepared, torch.enable_grad():
        problem = prepared.problem
        assert problem.origin is not None
        controls = inversion(problem, problem.origin)
    height, width = problem.size
    null = [controls.at(step.index).null for step in problem.steps]
    return {**run, "image": None, "height": height, "width": width, "latents": controls.noise[0], "null": null}


def _plain(request: Edit) -> dict[str, Any]:
    """The arguments of `align`."""
    return {field.name: getattr(request, field.name) for field in fields(Request)}


def _unsteered(source: Sequence[str]) -> dict[str, Any]:
    return {"prompts": source, "method": "fixed", "text": None, "budget": None, "observers": ()}
