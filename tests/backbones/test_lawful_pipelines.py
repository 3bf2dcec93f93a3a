"""Every family keeps the laws of backbones."""

import attrs
import pytest
from stock import backbone as as_backbone

from tta_core.plugins.resolve import backbone as resolved
from tta_core.testing import BackboneSuite


def small(name, pipelines):
    """A family's backbone, with the image size of its tiny networks."""
    made = resolved(as_backbone(name, pipelines(name)))
    return attrs.evolve(made, defaults=attrs.evolve(made.defaults, height=32, width=32))


class TestDiffusion(BackboneSuite):
    @pytest.fixture(params=["sd", pytest.param("sd-tiny-vae", marks=pytest.mark.slow), "sdxl", "pixart-alpha", "kolors", "hunyuan-dit"])
    def backbone(self, request, pipelines):
        return small(request.param, pipelines)


class TestFlow(BackboneSuite):
    @pytest.fixture(
        params=["sd3", "flux-dev", "qwen-image", "z-image", "flux2-dev", "flux2-klein", "sana", "lumina2", "auraflow", "chroma"]
    )
    def backbone(self, request, pipelines):
        return small(request.param, pipelines)
