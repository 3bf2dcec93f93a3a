"""The embedded model: a small Stable Diffusion that draws coloured shapes, a CLIP trained on them, and two held-out scores."""

from tta_core.plugins.hookspecs import Register, hookimpl


@hookimpl
def tta_register_backbones(register: Register) -> None:
    """The embedded model as a backbone."""
    register("shapes", "tta_plugins.shapes.registered:shapes", "the embedded model: coloured shapes, 64 pixels, no download")


@hookimpl
def tta_register_rewards(register: Register) -> None:
    """The embedded model's own CLIP; with `backbone="shapes"` the name `clip` means this one."""
    register("shapes-clip", "tta_plugins.shapes.registered:ShapesCLIP", "agreement of shapes and caption, by the embedded CLIP")
    register("shapes-judge", "tta_plugins.shapes.registered:ShapesJudge", "probability that exactly the things asked for are there")
    register("shapes-oracle", "tta_plugins.shapes.registered:ShapesOracle", "share of the caption that a program finds in the image")
    register("shapes-strict", "tta_plugins.shapes.registered:ShapesStrict", "1 where a program finds all of the caption and nothing else")
