"""The embedded model: a small Stable Diffusion for coloured shapes, a CLIP trained on them, and two held-out scores."""

from tta_core.plugins.hookspecs import Register, hookimpl


@hookimpl
def tta_register_backbones(register: Register) -> None:
    """The embedded model as a backbone."""
    register("shapes", "tta_plugins.shapes.registered:shapes", "the embedded model: coloured shapes, 64 pixels, no download")


@hookimpl
def tta_register_rewards(register: Register) -> None:
    """The embedded model's CLIP, which the name `clip` means with `backbone="shapes"`, and three more scores."""
    register("shapes-clip", "tta_plugins.shapes.registered:ShapesCLIP", "agreement of shapes and caption, by the embedded CLIP")
    register(
        "shapes-judge", "tta_plugins.shapes.registered:ShapesJudge", "probability that the image has exactly the things of the caption"
    )
    register("shapes-oracle", "tta_plugins.shapes.registered:ShapesOracle", "fraction of the caption that a program finds in the image")
    register(
        "shapes-strict", "tta_plugins.shapes.registered:ShapesStrict", "1 if a program finds everything in the caption and nothing else"
    )
