"""The version of diffusers that a pipeline needs: older versions lack its class, or call its networks differently."""

from tta_core.errors import IncompatibleError
from tta_plugins.backbones.family import Pipeline

_NEEDED = {
    "ZImagePipeline": (0, 36),
    "ZImageImg2ImgPipeline": (0, 36),
    "Flux2Pipeline": (0, 36),
    "Flux2KleinPipeline": (0, 37),
}


def installed() -> tuple[int, int]:
    """The major and minor number of the installed diffusers."""
    import diffusers

    major, minor = diffusers.__version__.split(".")[:2]
    return int(major), int(minor)


def remedy(named: str) -> str:
    """The advice for a class of pipelines that the installed diffusers does not have."""
    if named not in _NEEDED:
        return "Install a newer one, or check the name."
    return "Install diffusers {}.{} or later.".format(*_NEEDED[named])


def check_masks_are_used(pipeline: Pipeline) -> None:
    """Raises `IncompatibleError` for a Qwen-Image transformer that attends to padding, as diffusers' did before 0.37."""
    import diffusers

    if installed() < (0, 37):
        raise IncompatibleError(
            f"Cannot use {type(pipeline).__name__} with diffusers {diffusers.__version__}. This is because its transformer attends to "
            "padding in this version, so that a sample depends on the other prompts of its batch. Install diffusers 0.37 or later."
        )
