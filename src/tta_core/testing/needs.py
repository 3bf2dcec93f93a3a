"""The laws about what a method says that it needs; a part of `MethodSuite`."""

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
    """Each field of `Needs` is the truth: what is not declared is not used, and what is declared is refused where it is missing."""

    def test_needs_gradient_is_the_truth(self, method: Method) -> None:
        """A reward without gradient is refused before the first step if one is needed, and suffices otherwise."""
        if method.needs.gradient:
            with pytest.raises(IncompatibleError, match="Opaque"):
                next(iter(method.align(evolve(self.problem_for(method), reward=Opaque(), tried=False))))
        else:
            solved(method, self.problem_for(method, reward=Opaque()))

    def test_needs_variable_is_the_truth(self, method: Method) -> None:
        """Of the embeddings, those that the declared variable does not steer end as they began."""
        problem = self.problem_for(method)
        final, variable = solved(method, problem).controls, method.needs.variable
        allowed = variable.write(problem.controls, variable.read(final)) if variable else problem.controls
        assert torch.equal(allowed.text.tokens, final.text.tokens), "the text embedding changed, which needs.variable does not say"
        assert allowed.null is not None, "the mixture has a null embedding"
        assert final.null is not None, "the null embedding was dropped"
        assert torch.equal(allowed.null.tokens, final.null.tokens), "the null embedding changed, which needs.variable does not say"

    def test_needs_moves_x0_is_the_truth(self, method: Method) -> None:
        """Sampling plainly from the last controls repeats a result whose method moves neither x nor x0, and no other."""
        problem = self.problem_for(method)
        last = solved(method, problem)
        with torch.no_grad():
            apart = (problem.sample(last.controls) - last.x0).abs().max().item()
        if method.needs.moves_x or method.needs.moves_x0:
            assert apart > 1e-4, "the last controls repeat the result, but needs says that x or x0 was moved"
        else:
            assert apart <= 1e-4, f"the last controls lead {apart:.2g} away from the result, which needs.moves_x0 does not say"

    def test_needs_moves_x_is_the_truth(self, method: Method) -> None:
        """One trajectory goes on from what the sampler draws exactly if the method moves no x."""
        if not method.needs.one_trajectory:
            pytest.skip("The method declares one_trajectory = False: its samples are not compared with the sampler's draws.")
        problem = self.problem_for(method)
        watched = Watched(problem.scheduler, problem.noises)
        last = solved(method, evolve(problem, scheduler=watched, noises=watched))
        apart = watched.strayed(last.controls.noise, last.x0)
        if method.needs.moves_x:
            assert apart > 1e-4, "every x is what the sampler drew, but needs.moves_x says that it was moved"
        else:
            assert apart <= 1e-4, f"an x is {apart:.2g} away from what the sampler drew, which needs.moves_x does not say"

    def test_needs_one_trajectory_is_the_truth(self, method: Method) -> None:
        """A method that declares one trajectory asks for no second child's noise and goes no step back."""
        if not method.needs.one_trajectory:
            pytest.skip("The method declares one_trajectory = False: it may sample as often as it likes.")
        problem = self.problem_for(method)
        watched = Watched(problem.scheduler, problem.noises)
        solved(method, evolve(problem, scheduler=watched, noises=watched))
        assert watched.children <= {0}, "further children were drawn, which needs.one_trajectory does not say"
        assert watched.visits == sorted(watched.visits), "the method went a step back, which needs.one_trajectory does not say"

    def test_needs_of_the_sampler_are_the_truth(self, method: Method) -> None:
        """A sampler without noise is refused before the first step by a method that cannot do without, and serves any other."""
        problem = evolve(self.problem_for(method), scheduler=vp_scheduler(5, 0.0))
        if method.needs.stochastic or method.needs.children:
            with pytest.raises(IncompatibleError, match="std 0"):
                next(iter(method.align(problem)))
        else:
            assert torch.isfinite(solved(method, problem).x0).all(), "without noise the result is not finite"

    def test_needs_image_is_the_truth(self, method: Method) -> None:
        """A run that starts from noise is refused by a method that edits an image, and serves any other."""
        problem = evolve(self.problem_for(method), origin=None)
        if method.needs.image:
            with pytest.raises(IncompatibleError, match="image"):
                next(iter(method.align(problem)))
        else:
            next(iter(method.align(problem)))

    def test_needs_attention_is_the_truth(self, method: Method) -> None:
        """A method that changes attention refuses a backbone whose attention cannot be reached; any other leaves it alone."""
        problem = self.problem_for(method)
        if method.needs.attention:
            with pytest.raises(IncompatibleError, match="cross-attention"):
                next(iter(method.align(evolve(problem, backbone=GaussianMixture()))))
            return
        told: list[bool] = []

        def predict(x: Latents, step: Step, embedding: Embedding) -> Latents:
            told.append(embedding.attention is not None)
            return problem.backbone.predict(x, step, embedding)

        solved(method, evolve(problem, backbone=WrappedBackbone(problem.backbone, predicting=predict)))
        assert not any(told), "attention was changed, which needs.attention does not say"
