"""The suite of laws for rewards: one score per image, which depends on that image and its prompt alone."""

from collections.abc import Sequence

import pytest
import torch
from jaxtyping import Float

from tta_core.protocols.reward import Reward, card_of, networks_of
from tta_core.solving.scoring import checked
from tta_core.testing.profiles import drawn
from tta_core.testing.strategies import images, prompts, seeds
from tta_core.values.typing import Images


class RewardSuite:
    """Inherit, and override the fixture `reward`.

    Attributes:
        differentiable: whether scores have a gradient with respect to the images.
        smooth: whether that gradient predicts small changes (False for piecewise constant scores, such as with 8-bit rounding).
        size: height and width of the test images; the strategies make 8 x 8 images, which are enlarged.
        tolerance: largest difference between an image's score alone and in a batch, relative to the score if that is above 1.
        gradient_tolerance: largest relative error of the change that the gradient predicts.
    """

    differentiable: bool = True
    smooth: bool = True
    size: tuple[int, int] = (32, 32)
    tolerance: float = 1e-5
    gradient_tolerance: float = 0.1

    @pytest.fixture
    def reward(self) -> Reward:
        """The reward to test."""
        raise NotImplementedError("Override the fixture `reward`.")

    @pytest.fixture
    def ranked(self) -> Sequence[tuple[str, torch.Tensor, torch.Tensor]]:
        """(prompt, better image, worse image), images `(3, H, W)`: pairs that the reward must rank correctly."""
        pytest.skip("The suite declares no ranked pairs; override the fixture `ranked`.")

    @drawn(images=images(3), texts=prompts(3))
    def test_one_finite_float_per_image(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """Any images in [0, 1] and any texts give one finite floating-point score per image."""
        scores = self._score(reward, images, texts)
        assert isinstance(scores, torch.Tensor), f"not a tensor but {type(scores).__name__}"
        assert scores.shape == (3,), f"3 images, but scores of shape {tuple(scores.shape)}"
        assert scores.is_floating_point(), f"scores are {scores.dtype}"
        assert torch.isfinite(scores).all(), f"scores are not finite: {scores.tolist()}"

    @drawn(images=images(2), texts=prompts(2), seed=seeds())
    def test_the_same_image_gets_the_same_score(self, reward: Reward, images: Images, texts: list[str], seed: int) -> None:
        """A score is a function of image and prompt: two calls give the same, for any state of torch's global generator, which they do not
        change."""
        first = self._score(reward, images, texts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            second = self._score(reward, images, texts)
            assert torch.equal(before, torch.get_rng_state()), "the reward used torch's global generator"
        assert torch.equal(first, second), "the same images got other scores the second time"

    @drawn(images=images(3), texts=prompts(3))
    def test_each_image_is_scored_alone(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """The scores of a batch equal those of each image alone: nothing is averaged, ranked or normalised over images."""
        together = self._score(reward, images, texts)
        for row in range(3):
            alone = self._score(reward, images[row : row + 1], texts[row : row + 1])[0]
            assert (together[row] - alone).abs() <= self.tolerance * max(1.0, alone.abs().item()), (
                f"image {row}: {together[row]:.6g} in the batch, {alone:.6g} alone"
            )

    @drawn(images=images(3), texts=prompts(3))
    def test_order_does_not_matter(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """Permuting images and prompts together permutes the scores."""
        order = [2, 0, 1]
        moved = self._score(reward, images[order], [texts[i] for i in order])
        torch.testing.assert_close(
            moved,
            self._score(reward, images, texts)[order],
            atol=self.tolerance,
            rtol=self.tolerance,
            msg="scores do not follow their images",
        )

    @drawn(images=images(2), texts=prompts(2))
    def test_images_are_not_changed(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """The reward does not change the images in place."""
        shown = self._enlarged(images)
        before = shown.clone()
        reward(shown, texts)
        assert torch.equal(shown, before), "the reward changed its images in place"

    @drawn(images=images(2), texts=prompts(2))
    def test_scores_do_not_depend_on_the_grad_mode(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """Scores with and without a graph are the same."""
        with torch.no_grad():
            plain = self._score(reward, images, texts)
        followed = reward(self._enlarged(images).requires_grad_(), texts).detach()
        torch.testing.assert_close(
            plain, followed, atol=self.tolerance, rtol=self.tolerance, msg="scores with a graph differ from those without"
        )

    @drawn(images=images(2), texts=prompts(2))
    def test_differentiable_is_declared_correctly(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """Scores have a graph exactly if the suite declares it, and the card declares the same or nothing."""
        scores = reward(self._enlarged(images).requires_grad_(), texts)
        assert scores.requires_grad == self.differentiable, f"requires_grad is {scores.requires_grad}"
        assert card_of(reward).differentiable in (None, self.differentiable), f"the card says {card_of(reward).differentiable}"

    @drawn(images=images(2), texts=prompts(2))
    def test_gradients_are_finite(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """The gradient of any score is finite, also for flat, black and white images."""
        if self.differentiable:
            assert torch.isfinite(self._gradient(reward, images, texts)).all(), "a gradient is NaN or infinite"

    @drawn(images=images(2), texts=prompts(2))
    def test_a_score_depends_on_its_own_image(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """The gradient of image 0's score with respect to image 1 is exactly zero."""
        if self.differentiable:
            shown = self._enlarged(images).requires_grad_()
            (gradient,) = torch.autograd.grad(reward(shown, texts)[0], shown)
            assert not gradient[1].any(), "image 0's score depends on image 1"

    @drawn(images=images(1), texts=prompts(1))
    def test_the_gradient_predicts_the_change(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """A small step along the gradient raises the score by about the length of the step times the length of the gradient."""
        if not (self.differentiable and self.smooth):
            return
        shown = 0.1 + 0.8 * self._enlarged(images)
        gradient = torch.autograd.grad(reward(leaf := shown.clone().requires_grad_(), texts).sum(), leaf)[0]
        failures = []
        for length in (0.02, 0.005, 0.00125):  # a derivative is a limit, so a strongly curved score needs smaller steps
            step = length * gradient / gradient.abs().max().clamp_min(1e-30)
            predicted = 2 * step.norm().item() * gradient.norm().item()
            if predicted <= 100 * self.tolerance:
                break
            with torch.no_grad():
                change = (reward(shown + step, texts) - reward(shown - step, texts)).item()
            if abs(change - predicted) <= self.gradient_tolerance * predicted:
                return
            failures.append(f"{predicted:.4g}, but it was {change:.4g}")
        assert not failures, f"predicted {'; '.join(failures)}"

    @drawn(images=images(2), texts=prompts(2))
    def test_networks_are_left_as_they_were(self, reward: Reward, images: Images, texts: list[str]) -> None:
        """Scoring does not change the reward's weights, buffers, flags or gradients."""
        modules = torch.nn.ModuleList(networks_of(reward).values())
        before = {name: tensor.clone() for name, tensor in modules.state_dict().items()}
        flags = [(parameter.requires_grad, parameter.grad is None) for parameter in modules.parameters()]
        training = [module.training for module in modules.modules()]
        self._score(reward, images, texts)
        assert all(torch.equal(tensor, before[name]) for name, tensor in modules.state_dict().items()), "scoring changed the weights"
        now = [(parameter.requires_grad, parameter.grad is None) for parameter in modules.parameters()]
        assert now == flags, "scoring changed requires_grad, or left gradients in the weights"
        assert [module.training for module in modules.modules()] == training, "scoring changed the training mode"

    def test_the_card_can_be_read(self, reward: Reward) -> None:
        """The card has a unit, a range that rises, and reads images; the check of scores accepts the reward."""
        card = card_of(reward)
        assert card.unit, "the card has no unit"
        assert card.range is None or card.range[0] < card.range[1], f"the card's range {card.range} does not rise"
        assert card.needs == "image", f"the card needs {card.needs!r}, which no run provides"
        checked(reward, self._enlarged(torch.full((1, 3, 8, 8), 0.5)), ["a red circle"])

    def test_better_images_score_higher(self, reward: Reward, ranked: Sequence[tuple[str, torch.Tensor, torch.Tensor]]) -> None:
        """Higher is better: of each declared pair, the better image scores higher."""
        for prompt, better, worse in ranked:
            above, below = reward(torch.stack([better, worse]), [prompt, prompt]).tolist()
            assert above > below, f"{prompt!r}: the better image scores {above:.4g}, the worse {below:.4g}"

    def _enlarged(self, images: Images) -> Float[torch.Tensor, "b 3 h w"]:
        return torch.nn.functional.interpolate(images, self.size, mode="nearest").clone()

    def _score(self, reward: Reward, images: Images, texts: list[str]) -> torch.Tensor:
        return reward(self._enlarged(images), texts).detach()

    def _gradient(self, reward: Reward, images: Images, texts: list[str]) -> torch.Tensor:
        shown = self._enlarged(images).requires_grad_()
        return torch.autograd.grad(reward(shown, texts).sum(), shown)[0]
