"""Energy-Based Cross Attention: each cross-attention layer changes the text's context along the gradient of an energy, without a reward.

Notation (name -> paper): attention -> gamma_attn, norm -> gamma_reg, updates -> the steps i < int(tau T).
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import attrs
import torch

from tta_core import Embedding, Needs, Problem, Snapshot
from tta_core.errors import InputError
from tta_core.values.controls import AttentionEnergy, Controls
from tta_core.values.schedules import Schedule, Window, at_step
from tta_core.values.typing import evolve, frozen

CITATION = """@inproceedings{park2023ebca,
  title = {Energy-Based Cross Attention for Bayesian Context Update in Text-to-Image Diffusion Models},
  author = {Park, Geon Yeong and Kim, Jeongsol and Kim, Beomsu and Lee, Sang Wan and Ye, Jong Chul},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  eprint = {2306.09869},
  archivePrefix = {arXiv}
}"""


@frozen
class EBCA:
    """In each cross-attention layer c <- c + attention (softmax over pixels) q W_k - norm (softmax over tokens of ||k||^2) k W_k.

    Attributes:
        attention, norm: gamma_attn and gamma_norm, 0.01 to 0.02 in the authors' runs; a schedule gives each step its own.
        updates: the steps at which layers change the context; the authors' tau of T steps is `Steps(tuple(range(int(tau * T))))`.
        tokens: factors of single tokens on the attention term, by their position in the prompt; in the text branch only.

    Noise keys: x' is sampled with row step + 1, child 0.
    Cost: plain sampling, and two matrix products per layer; no gradient, no reward.
    Source: Energy-Based Cross Attention (arXiv 2306.09869), algorithm 1.
    Differs: as in the released code, and unlike in the paper's energy, the norm has no 1/2; the last layer's update is not computed here,
    because it has no effect. Token factors apply to the text branch of every sample, also without guidance. Editing by several contexts is
    not implemented.
    """

    attention: float | Schedule = 0.01
    norm: float | Schedule = 0.01
    updates: Schedule = attrs.field(factory=Window)
    tokens: Mapping[int, float] = attrs.field(factory=dict)

    citation: ClassVar[str] = CITATION

    @property
    def needs(self) -> Needs:
        """Cross-attention layers, unless both weights are 0."""
        return Needs(attention=(self.attention, self.norm) != (0.0, 0.0))

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample; at the chosen steps the layers change the context."""
        problem = problem.check(self.needs)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        used = controls
        for step in problem.steps:
            steered = self.steered(controls.at(step.index), step.index, total) if self.updates(step.index, total) else controls
            with torch.no_grad():
                prediction = problem.at(state, step).predict(steered)
                state = prediction.sample(controls.noise[step.index + 1])
            used = used.recorded(step.index, steered.at(step.index))
            yield Snapshot(step.index, total, steered, prediction.x0)
        yield problem.result(total, used, state.x)

    def steered(self, controls: Controls, index: int, total: int) -> Controls:
        """The controls of a step at which layers change the context; unchanged if both weights are 0."""
        attention, norm = (at_step(weight, index, total) for weight in (self.attention, self.norm))
        if attention == norm == 0:
            return controls

        def with_energy(embedding: Embedding, tokens: Mapping[int, float]) -> Embedding:
            rows, length = embedding.tokens.shape[:2]
            if any(not 0 <= place < length for place in tokens):
                raise InputError(f"EBCA.tokens has the positions {sorted(tokens)}, but the positions of the {length} tokens start at 0.")
            weight = torch.ones(rows).to(embedding.tokens)
            factors = torch.ones(rows, length).to(embedding.tokens)
            for place, factor in tokens.items():
                factors[:, place] = factor
            return evolve(embedding, attention=AttentionEnergy(attention * weight, norm * weight, factors if self.tokens else None))

        null = None if controls.null is None else with_energy(controls.null, {})
        return evolve(controls, text=with_energy(controls.text, self.tokens), null=null)
