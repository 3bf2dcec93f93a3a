"""Look-aheads by a tiny autoencoder, given as a folder or as a network, and the autoencoders that are refused."""

import shutil

import pytest
import torch
from diffusers import AutoencoderTiny

from tta_core.errors import IncompatibleError, LoadError
from tta_core.running.prepare import prepare
from tta_plugins.bench.identity import weights_of
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.memory.tiny_autoencoder import Tiny, read_tiny_autoencoder
from tta_plugins.methods.date import DATE
from tta_plugins.shapes.load import pipeline_folder
from tta_plugins.shapes.registered import shapes

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def backbone():
    return shapes()


def tiny(channels=8, stages=4):
    """An autoencoder with random weights, from 8 x 8 latents to 64 x 64 pixels."""
    torch.manual_seed(0)
    sizes = {"encoder_block_out_channels": (4,) * stages, "decoder_block_out_channels": (4,) * stages}
    return AutoencoderTiny(**sizes, num_encoder_blocks=(0,) * stages, num_decoder_blocks=(0,) * stages, latent_channels=channels)


@pytest.fixture
def folder(tmp_path):
    tiny().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def ran(backbone, autoencoder):
    """The last snapshot of a short run, the digests of its networks, and its result decoded by both decoders."""
    with prepare("a red circle", backbone=backbone, method=DATE(), memory=LookAhead(autoencoder=autoencoder), steps=2) as prepared:
        *_, last = prepared.method.align(prepared.problem)
        return last, weights_of(prepared), prepared.problem.look_ahead(last.x0).images, prepared.problem.look(last.x0).images


def test_a_folder_is_read_like_the_network_itself(backbone, folder):
    (one, known, ahead, full), (other, again, _, _) = ran(backbone, str(folder)), ran(backbone, tiny())
    assert torch.equal(one.x0, other.x0)
    assert known == again
    assert "look-ahead autoencoder" in known
    assert not torch.allclose(ahead, full, atol=0.01)
    assert torch.equal(one.images, full)


def test_the_models_own_decoder_gives_the_same_images(backbone):
    """Its latents are scaled, as its configuration says."""
    own = backbone.networks["decoder"]
    assert own.config["scaling_factor"] != 1
    x0, decode = torch.randn(2, 8, 8, 8), Tiny(own)
    torch.testing.assert_close(decode(x0), backbone.decode(x0))


@pytest.mark.parametrize(("other", "reason"), [({"channels": 4}, "4 channels.*backbone 8"), ({"stages": 3}, "4 pixels along.*backbone 8")])
def test_an_autoencoder_of_other_latents_is_refused(backbone, other, reason):
    with pytest.raises(IncompatibleError, match=reason):
        ran(backbone, tiny(**other))


@pytest.mark.parametrize("kind", ["another class of network", "truncated", "without weights", "weights of another", "nothing there"])
def test_unreadable_folders_are_named(folder, kind):
    weights = folder / WEIGHTS
    if kind == "another class of network":
        shutil.copytree(pipeline_folder() / "unet", folder, dirs_exist_ok=True)
    elif kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "weights of another":
        shutil.copy(pipeline_folder() / "unet" / WEIGHTS, weights)
    else:
        weights.unlink()
        if kind == "nothing there":
            (folder / "config.json").unlink()
    with pytest.raises(LoadError, match=f"{folder}.*tiny autoencoder"):
        read_tiny_autoencoder(str(folder))
