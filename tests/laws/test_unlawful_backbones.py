"""Each law of backbones fails for a backbone that is made to break it."""

import attrs
import pytest
import torch
from breaking import assert_caught, laws_of

from tta_core import Embedding
from tta_core.testing import BackboneSuite, GaussianMixture, NetworkedMixture


class Stepless(GaussianMixture):
    @property
    def defaults(self):
        return attrs.evolve(super().defaults, steps=0)


class AnySize(GaussianMixture):
    def latent_shape(self, height, width):
        return 4, height // 2, width // 2


class Centring(GaussianMixture):
    def encode(self, prompts, height, width):
        tokens = super().encode(prompts, height, width).tokens
        return Embedding(tokens - tokens.mean(0) + 1)


class Nullless(GaussianMixture):
    def encode_null(self, prompts, height, width):
        return None


class Double(GaussianMixture):
    def decode(self, x0):
        return super().decode(x0).double()


class Noisy(GaussianMixture):
    def predict(self, x, step, embedding):
        return super().predict(x, step, embedding) + 0.01 * torch.randn(())


class Normalising(GaussianMixture):
    def predict(self, x, step, embedding):
        output = super().predict(x, step, embedding)
        return output - output.mean()


class Cut(GaussianMixture):
    def predict(self, x, step, embedding):
        return super().predict(x, step, Embedding(embedding.tokens.detach()))


class Blending(GaussianMixture):
    def decode(self, x0):
        return super().decode(x0 + 0.1 * x0.mean(0))


class ZeroIsNone(GaussianMixture):
    """Guidance in the convention in which w = 0 is none."""

    def combine(self, text, null, guidance):
        return text + guidance * (text - null)


class Learning(NetworkedMixture):
    def decode(self, x0):
        with torch.no_grad():
            next(self.decoder.parameters()).add_(1e-3)
        return super().decode(x0)


BROKEN = {
    "test_it_has_all_members": Stepless(),
    "test_impossible_sizes_are_refused": AnySize(),
    "test_a_prompt_is_encoded_alone": Centring(),
    "test_texts_differ": GaussianMixture(steering=0.0),
    "test_has_null_is_declared_correctly": Nullless(),
    "test_outputs_are_float32_of_the_latents_shape": Double(),
    "test_calling_twice_gives_the_same": Noisy(),
    "test_a_batch_gives_what_each_sample_gives_alone": Normalising(),
    "test_gradients_reach_x_and_the_embedding": Cut(),
    "test_gradients_do_not_cross_rows": Blending(),
    "test_guidance_one_is_the_text_branch": ZeroIsNone(),
    "test_networks_are_left_as_they_were": Learning(),
}


@pytest.mark.parametrize("law", laws_of(BackboneSuite))
def test_the_law_catches(law):
    assert_caught(BackboneSuite, law, {"backbone": BROKEN[law]}, attributes={})
