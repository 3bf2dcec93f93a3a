"""The laws about a method's declared `needs`; a part of `MethodSuite`."""

import pytest
import torch

from tta_core.errors import IncompatibleError
from tta_core.protocols.method import Method
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.testing.mixture import GaussianMixture
from tta_core.testing.problems import Opaque, solved
from tta_core.testing.snapshots import SnapshotLaws
from tta_core.testing.tables import vp_scheduler
from tta_core.testing.watched import Watched
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Step
from tta_core.values.typing import Latents, evolve


class NeedsLaws(SnapshotLaws):
    """Each field of `Needs` is true: a method uses only what it declares, and is refused if a declared requirement is not met."""

    def test_needs_gradient_is_declared_correctly(self, method: Method) -> None:
        """A reward without gradient is refused before the first step if the method needs a gradient, and works otherwise."""
        if method.needs.gradient:
            with pytest.raises(IncompatibleError, match="Opaque"):
                next(iter(method.align(evolve(self.problem_for(method), reward=Opaque(), tried=False))))
        else:
            solved(method, self.problem_for(method, reward=Opaque()))

    def test_needs_variable_is_declared_correctly(self, method: Method) -> None:
        """Embeddings that the declared variable does not steer are not changed."""
        problem, final = self.recorded(method).problem, self.recorded(method).last.controls
        variable = method.needs.variable
        allowed = variable.write(problem.controls, variable.read(final)) if variable else problem.controls
        assert torch.equal(allowed.text.tokens, final.text.tokens), "the text embedding changed, but needs.variable does not steer it"
        assert allowed.null is not None, "the mixture has a null embedding"
        assert final.null is not None, "the null embedding was dropped"
        assert torch.equal(allowed.null.tokens, final.null.tokens), "the null embedding changed, but needs.variable does not steer it"

    def test_needs_moves_x0_is_declared_correctly(self, method: Method) -> None:
        """Plain sampling from the last controls repeats the result exactly if the method changes neither x nor x0."""
        problem, last = self.recorded(method).problem, self.recorded(method).last
        with torch.no_grad():
            difference = (problem.sample(last.controls) - last.x0).abs().max().item()
        if method.needs.moves_x or method.needs.moves_x0:
            assert difference > 1e-4, "the last controls repeat the result, but needs declares that x or x0 is changed"
        else:
            assert difference <= 1e-4, f"sampling from the last controls differs by {difference:.2g}, but needs.moves_x0 is False"

    def test_needs_moves_x_is_declared_correctly(self, method: Method) -> None:
        """A method of one trajectory continues from the sampler's x exactly if it declares moves_x = False."""
        if not method.needs.one_trajectory:
            pytest.skip("The method declares one_trajectory = False: its x are not compared with the sampler's.")
        problem = self.problem_for(method)
        watched = Watched(problem.scheduler, problem.noises)
        last = solved(method, evolve(problem, scheduler=watched, noises=watched))
        difference = watched.difference(last.controls.noise, last.x0)
        if method.needs.moves_x:
            assert difference > 1e-4, "every x is the sampler's, but needs.moves_x is True"
        else:
            assert difference <= 1e-4, f"an x differs by {difference:.2g} from the sampler's, but needs.moves_x is False"

    def test_needs_one_trajectory_is_declared_correctly(self, method: Method) -> None:
        """A method that declares one trajectory uses no second child's noise and does not go back to an earlier step."""
        if not method.needs.one_trajectory:
            pytest.skip("The method declares one_trajectory = False: it may sample any number of times.")
        problem = self.problem_for(method)
        watched = Watched(problem.scheduler, problem.noises)
        solved(method, evolve(problem, scheduler=watched, noises=watched))
        assert watched.children <= {0}, "several children were sampled, but needs.one_trajectory is True"
        assert watched.visits == sorted(watched.visits), "the method went back to an earlier step, but needs.one_trajectory is True"

    def test_needs_of_the_sampler_are_declared_correctly(self, method: Method) -> None:
        """A sampler without noise is refused before the first step if the method needs noise, and works otherwise."""
        problem = evolve(self.problem_for(method), scheduler=vp_scheduler(5, 0.0))
        if method.needs.stochastic or method.needs.children:
            with pytest.raises(IncompatibleError, match="std 0"):
                next(iter(method.align(problem)))
        else:
            assert torch.isfinite(solved(method, problem).x0).all(), "without noise the result is not finite"

    def test_needs_image_is_declared_correctly(self, method: Method) -> None:
        """A run that starts from noise is refused if the method edits an image, and works otherwise."""
        problem = evolve(self.problem_for(method), origin=None)
        if method.needs.image:
            with pytest.raises(IncompatibleError, match="image"):
                next(iter(method.align(problem)))
        else:
            next(iter(method.align(problem)))

    def test_needs_attention_is_declared_correctly(self, method: Method) -> None:
        """A method that declares `attention` refuses a backbone whose attention cannot be changed; other methods do not change
        attention."""
        problem = self.problem_for(method)
        if method.needs.attention:
            with pytest.raises(IncompatibleError, match="cross-attention"):
                next(iter(method.align(evolve(problem, backbone=GaussianMixture()))))
            return
        changed: list[bool] = []

        def predict(x: Latents, step: Step, embedding: Embedding) -> Latents:
            changed.append(embedding.attention is not None)
            return problem.backbone.predict(x, step, embedding)

        solved(method, evolve(problem, backbone=WrappedBackbone(problem.backbone, predicting=predict)))
        assert not any(changed), "attention was changed, but needs.attention is False"
