"""The suite of laws for backbones: pure, differentiable, float32 in and out, and rows that do not mix."""

import pytest
import torch

from tta_core.errors import InputError
from tta_core.protocols.backbone import Backbone
from tta_core.testing.profiles import drawn
from tta_core.testing.strategies import seeds
from tta_core.values.controls import Embedding
from tta_core.values.noise import keyed_normal
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents


class BackboneSuite:
    """Inherit, and override the fixture `backbone`.

    Attributes:
        tolerance: largest difference between a row alone and in a batch, relative to the largest value.
        step: a step in the middle of the backbone's usual table.
        impossible_size: a height and width that it does not support; None: it supports all.
    """

    tolerance: float = 1e-5
    step: Step = Step(index=5, time=500.0, a=0.53, s=0.848, a_next=0.6, s_next=0.8)
    impossible_size: tuple[int, int] | None = (7, 7)

    @pytest.fixture
    def backbone(self) -> Backbone:
        """The backbone to test."""
        raise NotImplementedError("Override the fixture `backbone`.")

    def test_it_has_all_members(self, backbone: Backbone) -> None:
        """Every member of the protocol exists, and the default size is supported."""
        assert isinstance(backbone, Backbone), "a member of tta_core.Backbone is missing"
        defaults = backbone.defaults
        assert defaults.steps >= 1, f"{defaults.steps} default steps"
        assert defaults.guidance >= 0, f"default guidance {defaults.guidance}"
        assert min(backbone.latent_shape(defaults.height, defaults.width)) >= 1, "the default size has no latents"

    def test_impossible_sizes_are_refused(self, backbone: Backbone) -> None:
        """An unsupported size raises an `InputError` at once."""
        if self.impossible_size:
            with pytest.raises(InputError):
                backbone.latent_shape(*self.impossible_size)

    def test_a_prompt_is_encoded_alone(self, backbone: Backbone) -> None:
        """A prompt's embedding does not depend on the other prompts, and two calls give the same bits."""
        together, again = _encoded(backbone, ["a", "a much longer text"]), _encoded(backbone, ["a", "a much longer text"])
        for row, prompt in enumerate(["a", "a much longer text"]):
            for leaf, same, alone in zip(together.leaves, again.leaves, _encoded(backbone, [prompt]).leaves, strict=True):
                assert torch.equal(leaf, same), "the same texts got other embeddings the second time"
                assert leaf.shape[0] == 2, f"2 prompts, {leaf.shape[0]} rows"
                assert self._near(leaf[row], alone[0]), f"{prompt!r} is encoded differently in a batch with another prompt"

    def test_texts_differ(self, backbone: Backbone) -> None:
        """Two texts have different embeddings and different outputs."""
        embedding = _encoded(backbone, ["a red circle", "a blue square"])
        assert not torch.equal(embedding.tokens[0], embedding.tokens[1]), "two texts have one embedding"
        x = self._latents(backbone, 1).repeat(2, 1, 1, 1)
        output = backbone.predict(x, self.step, embedding)
        assert not torch.equal(output[0], output[1]), "the output does not depend on the text"

    def test_has_null_is_declared_correctly(self, backbone: Backbone) -> None:
        """`encode_null` gives an embedding like the text's exactly if `has_null`; a negative prompt changes it."""
        null, negative = (backbone.encode_null([prompt], *_size(backbone)) for prompt in (None, "blurry"))
        assert (null is not None) == backbone.has_null, f"has_null is {backbone.has_null}, but encode_null gave {type(null).__name__}"
        if null is not None:
            assert negative is not None, "a negative prompt has no embedding"
            assert null.tokens.shape == _encoded(backbone, ["a"]).tokens.shape, "text and null tokens differ in shape"
            assert not torch.equal(null.tokens, negative.tokens), "a negative prompt is ignored"

    def test_outputs_are_float32_of_the_latents_shape(self, backbone: Backbone) -> None:
        """Latents, embeddings, outputs and images are finite float32 of the promised shapes."""
        x, embedding = self._latents(backbone, 2), _encoded(backbone, ["a", "b"])
        output, images = backbone.predict(x, self.step, embedding), backbone.decode(x)
        assert output.shape == x.shape, f"outputs are {tuple(output.shape)} for latents {tuple(x.shape)}"
        assert images.shape == (2, 3, *_size(backbone)), f"images are {tuple(images.shape)}"
        for name, tensor in (("embedding", embedding.tokens), ("output", output), ("image", images)):
            assert tensor.dtype == torch.float32, f"the {name} is {tensor.dtype} at the border"
            assert torch.isfinite(tensor).all(), f"the {name} is not finite"

    @drawn(seed=seeds())
    def test_calling_twice_gives_the_same(self, backbone: Backbone, seed: int) -> None:
        """Predicting and decoding are pure: two calls give the same bits, and change neither arguments nor torch's global generator."""
        x, embedding = self._latents(backbone, 2, seed), _encoded(backbone, ["a", "b"])
        before, tokens, state = x.clone(), embedding.tokens.clone(), torch.get_rng_state()
        first = (backbone.predict(x, self.step, embedding).clone(), backbone.decode(x).clone())
        second = (backbone.predict(x, self.step, embedding), backbone.decode(x))
        assert all(map(torch.equal, first, second)), "two calls with the same arguments gave different results"
        assert torch.equal(x, before), "x was changed in place"
        assert torch.equal(embedding.tokens, tokens), "the embedding was changed in place"
        assert torch.equal(state, torch.get_rng_state()), "the global generator was used"

    @drawn(seed=seeds())
    def test_a_batch_gives_what_each_sample_gives_alone(self, backbone: Backbone, seed: int) -> None:
        """The outputs and images of each row of a batch equal those of the row alone."""
        x, embedding = self._latents(backbone, 3, seed), _encoded(backbone, ["a", "b", "c"])
        output, images = backbone.predict(x, self.step, embedding), backbone.decode(x)
        for row in range(3):
            rows = slice(row, row + 1)
            assert self._near(output[rows], backbone.predict(x[rows], self.step, embedding[rows])), (
                f"row {row} is predicted differently alone"
            )
            assert self._near(images[rows], backbone.decode(x[rows])), f"row {row} is decoded differently alone"

    @drawn(seed=seeds())
    def test_gradients_reach_x_and_the_embedding(self, backbone: Backbone, seed: int) -> None:
        """The output is differentiable in x and in every leaf of the embedding, with finite gradients that are not all zero."""
        x = self._latents(backbone, 1, seed).requires_grad_()
        embedding = _with_leaves(_encoded(backbone, ["a red circle"]))
        output = backbone.predict(x, self.step, embedding)
        assert output.requires_grad, "the output has no graph"
        direction = keyed_normal(("direction",), output.shape)
        for gradient in torch.autograd.grad((output * direction).sum(), (x, *embedding.leaves), allow_unused=True):
            assert gradient is not None, "the output does not depend on x, or on a leaf of the embedding"
            assert torch.isfinite(gradient).all(), "a gradient is not finite"
            assert gradient.any(), "a gradient is zero everywhere"

    @drawn(seed=seeds())
    def test_gradients_do_not_cross_rows(self, backbone: Backbone, seed: int) -> None:
        """Row 0's output and image do not depend on row 1's latents."""
        x = self._latents(backbone, 2, seed).requires_grad_()
        for output in (backbone.predict(x, self.step, _encoded(backbone, ["a", "b"])), backbone.decode(x)):
            (gradient,) = torch.autograd.grad(output[0].sum(), x)
            assert gradient[0].any(), "row 0 does not depend on its own latents"
            assert not gradient[1].any(), "row 0 depends on row 1"

    @drawn(seed=seeds())
    def test_guidance_one_is_the_text_branch(self, backbone: Backbone, seed: int) -> None:
        """combine(text, null, 1) is text, and combine(text, text, w) is text for any w."""
        text, null = self._latents(backbone, 2, seed), self._latents(backbone, 2, seed + 1)
        assert self._near(backbone.combine(text, null, 1.0), text), "guidance 1 is not the text branch"
        assert self._near(backbone.combine(text, text, 7.5), text), "equal branches are not combined to themselves"

    def test_networks_are_left_as_they_were(self, backbone: Backbone) -> None:
        """Encoding, predicting and decoding change no weight, flag or mode, and leave no gradient."""
        modules = torch.nn.ModuleList(backbone.networks.values())
        before = {name: tensor.clone() for name, tensor in modules.state_dict().items()}
        training = [module.training for module in modules.modules()]
        flags = [(parameter.requires_grad, parameter.grad is None) for parameter in modules.parameters()]
        x = self._latents(backbone, 1)
        backbone.decode(backbone.predict(x, self.step, _encoded(backbone, ["a"])))
        assert all(torch.equal(tensor, before[name]) for name, tensor in modules.state_dict().items()), "a call changed the weights"
        assert [module.training for module in modules.modules()] == training, "a call changed the training mode"
        now = [(parameter.requires_grad, parameter.grad is None) for parameter in modules.parameters()]
        assert now == flags, "a call changed requires_grad or left gradients"

    def _latents(self, backbone: Backbone, rows: int, seed: int = 0) -> Latents:
        shape = backbone.latent_shape(*_size(backbone))
        return torch.stack([keyed_normal(("x", seed, row), shape) for row in range(rows)]).to(backbone.device)

    def _near(self, first: Latents | Images | torch.Tensor, second: torch.Tensor) -> bool:
        return bool((first - second).abs().max() <= self.tolerance * (1 + second.abs().max()))


def _size(backbone: Backbone) -> tuple[int, int]:
    return backbone.defaults.height, backbone.defaults.width


def _encoded(backbone: Backbone, prompts: list[str]) -> Embedding:
    with torch.no_grad():
        return backbone.encode(prompts, *_size(backbone))


def _with_leaves(embedding: Embedding) -> Embedding:
    pooled = None if embedding.pooled is None else embedding.pooled.clone().requires_grad_()
    return Embedding(embedding.tokens.clone().requires_grad_(), pooled, embedding.mask, embedding.extra)
