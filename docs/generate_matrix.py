"""Writes docs/matrix.md: which method runs on which family of pipelines, with which variable and which sampler. Each combination is run
on tiny random networks.

python docs/generate_matrix.py
"""

import re
import sys
import tempfile
from functools import partial
from itertools import product
from pathlib import Path

import attrs

import tta_core
from tta_core.errors import IncompatibleError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.resolve import backbone as resolved
from tta_plugins.backbones.auraflow import auraflow
from tta_plugins.backbones.chroma import chroma
from tta_plugins.backbones.flux import flux
from tta_plugins.backbones.flux2 import flux2
from tta_plugins.backbones.lumina2 import lumina2
from tta_plugins.backbones.pixart import pixart
from tta_plugins.backbones.qwen_image import qwen_image
from tta_plugins.backbones.sana import sana
from tta_plugins.backbones.stable_diffusion_3 import stable_diffusion_3
from tta_plugins.backbones.z_image import z_image

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "matrix.md"
SHORT = 32  # tokens of T5
BACKBONES = {
    "Stable Diffusion 1, 2": ("sd", resolved),
    "SDXL": ("sdxl", resolved),
    "SD3, 3.5": ("sd3", partial(stable_diffusion_3, max_sequence_length=SHORT)),
    "FLUX": ("flux-dev", partial(flux, max_sequence_length=SHORT)),
    "FLUX, true guidance": ("flux-dev", partial(flux, true_guidance=True, max_sequence_length=SHORT)),
    "PixArt": ("pixart-sigma", partial(pixart, max_sequence_length=SHORT)),
    "Qwen-Image": ("qwen-image", partial(qwen_image, max_sequence_length=SHORT)),
    "Z-Image": ("z-image", partial(z_image, max_sequence_length=SHORT)),
    "FLUX.2 dev": ("flux2-dev", partial(flux2, max_sequence_length=SHORT, layers=(1, 2, 3))),
    "FLUX.2 Klein": ("flux2-klein", partial(flux2, max_sequence_length=SHORT, layers=(1, 2, 3))),
    "Sana": ("sana", partial(sana, max_sequence_length=SHORT)),
    "AuraFlow": ("auraflow", partial(auraflow, max_sequence_length=SHORT)),
    "Chroma": ("chroma", partial(chroma, max_sequence_length=SHORT)),
    "Kolors": ("kolors", resolved),
    "Hunyuan-DiT": ("hunyuan-dit", resolved),
    "Lumina 2": ("lumina2", partial(lumina2, max_sequence_length=SHORT)),
}
SAMPLERS = {
    **dict.fromkeys(("ddim", "ddpm", "euler", "euler-ancestral", "dpm++2m", "dpm++2m-sde", "lcm", "tcd"), "Stable Diffusion 1, 2"),
    **dict.fromkeys(("flow-euler", "flow-sde"), "SD3, 3.5"),
}
VARIABLES = {
    "text": tta_core.TextEmbedding(),
    "null": tta_core.NullEmbedding(),
    "null, pooled too": tta_core.NullEmbedding(pooled=True),
    "noise": tta_core.Noise(),
}
CHEAP = {"particles": 2, "inner_min": 1, "inner_max": 1, "iterations": 1, "n": 2, "shuffles": 2, "samples": 2, "children": 2}
CHEAP |= {"evaluations": 8, "starts": 1, "rounds": 1, "neighbours": 1}
INTRODUCTION = """# What runs on what

Each combination was run for two steps on tiny random networks of the family. **runs** means that the whole method ran. A number leads to
the reason why the combination was refused. `docs/generate_matrix.py` writes this page; do not edit it.

## Families
"""
WITH_SAMPLERS = """
## Samplers

Each method with its default variable, on Stable Diffusion, or on SD3 for samplers of flow-matching models. A pipeline's own sampler is one
of these, or it is replaced with a warning.
"""


def plain_methods():
    """(name, the method), cheap enough to run."""
    for entry in plugins().registry.entries("methods"):
        if not isinstance(entry.load(), type):  # a preset, which needs what its class needs
            continue
        made = plugins().registry.create("methods", entry.name)
        fields = {field.name for field in attrs.fields(type(made))}
        yield entry.name, attrs.evolve(made, **{name: value for name, value in CHEAP.items() if name in fields})


def methods():
    """(name, what is steered, the method) for each variable that can be steered."""
    for method, made in plain_methods():
        fields = {field.name for field in attrs.fields(type(made))}
        if "variable" not in fields:
            yield method, "", made
            continue
        variants = {"": {}, " (kernel='sampler')": {"kernel": "sampler"}} if "kernel" in fields else {"": {}}
        for (said, options), (name, variable) in product(variants.items(), VARIABLES.items()):
            yield method + said, name, attrs.evolve(made, variable=variable, **options)


def outcome(backbone, method, **options):
    """ "runs", or the reason for the refusal."""
    given = {"backbone": backbone, "method": method, "reward": "brightness", "steps": 2, "height": 32, "width": 32, **options}
    try:
        with tta_core.prepare("a red circle", **given) as prepared:
            for _ in prepared.method.align(prepared.problem):
                pass
    except IncompatibleError as refusal:
        return str(refusal)
    return "runs"


def general(reason):
    """The reason without the names of this pipeline and variable, so that equal reasons are equal texts."""
    reason = re.sub(r"with (\w+Pipeline|\w+Backbone)\b", "with this backbone", reason)
    return re.sub(r"Cannot use \w+\([^)]*\)", "Cannot use this variable", reason)


def backbone_of(title):
    """A family's backbone with tiny random networks."""
    sys.path.insert(0, str(ROOT / "tests" / "backbones"))
    from tiny_pipelines import build

    name, make = BACKBONES[title]
    with tempfile.TemporaryDirectory() as folder:
        return make(build(name, Path(folder)))


def run_all(titles=tuple(BACKBONES)):
    """{(method, variable): {title: "runs" or the reason}} for these families."""
    found = {}
    for title in titles:
        backbone = backbone_of(title)
        for method, variable, made in methods():
            found.setdefault((method, variable), {})[title] = general(outcome(backbone, made))
    return found


def run_samplers(samplers=tuple(SAMPLERS)):
    """{(method, ""): {sampler: "runs" or the reason}}."""
    backbones = {title: backbone_of(title) for title in {SAMPLERS[sampler] for sampler in samplers}}
    return {
        (method, ""): {sampler: general(outcome(backbones[SAMPLERS[sampler]], made, scheduler=sampler)) for sampler in samplers}
        for method, made in plain_methods()
    }


def read(page):
    """The page's two tables, as `run_all` and `run_samplers` give them."""
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", page, re.MULTILINE))
    return [_read(part, reasons) for part in page.split("## Samplers")]


def _read(part, reasons):
    (_, _, *titles), _, *rows = [[cell.strip() for cell in line.split("|")] for line in re.findall(r"^\|(.*)\|$", part, re.MULTILINE)]
    said = {}
    for method, variable, *cells in rows:
        numbers = [re.match(r"\[(\d+)\]", cell) for cell in cells]
        told = [reasons[number[1]] if number else cell for number, cell in zip(numbers, cells, strict=True)]
        said[method, variable] = dict(zip(titles, told, strict=True))
    return said


def page(families, samplers):
    """The page's text."""
    cells = [result for table in (families, samplers) for row in table.values() for result in row.values()]
    reasons = list(dict.fromkeys(result for result in cells if result != "runs"))
    listed = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    parts = [INTRODUCTION, *_table(families, reasons), WITH_SAMPLERS, *_table(samplers, reasons)]
    return "\n".join([*parts, "", "## Reasons", "", *(listed or ["Nothing is refused."]), ""])


def _table(found, reasons):
    titles = next(iter(found.values()))
    yield "| method | steers |" + "".join(f" {title} |" for title in titles)
    yield "|---|---|" + "---|" * len(titles)
    for (method, variable), row in found.items():
        cells = [result if result == "runs" else f"[{reasons.index(result) + 1}](#reasons)" for result in row.values()]
        yield f"| {method} | {variable} |" + "".join(f" {cell} |" for cell in cells)


if __name__ == "__main__":
    PAGE.write_text(page(run_all(), run_samplers()), encoding="utf-8")
