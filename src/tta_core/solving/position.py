"""One point of a trajectory, `here = problem.at(state, step)`: guidance branches are evaluated there once each."""

import torch

from tta_core.solving.parts import Parts
from tta_core.values.controls import Controls, Embedding
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.transition import as_batch
from tta_core.values.typing import Latents, Rows

Known = tuple[Embedding, tuple[int, ...], Latents]  # an embedding, the versions of its tensors, the output there


class Position:
    """A state before a step, and what the networks said there.

    A branch is evaluated again only when *its* embedding changed (it is another object, or was updated in place), and keeps a graph only
    if x or the embedding asks for a gradient. Rows of x and of embeddings may differ by a whole factor: the smaller is repeated, k-major,
    so that K particles share one embedding and K perturbed embeddings share one x.
    """

    def __init__(self, problem: Parts, state: State, step: Step) -> None:
        self.problem = problem
        self.state = state
        self.step = step
        self._known: list[Known] = []

    def predict(self, controls: Controls) -> Prediction:
        """What is believed here under these controls."""
        backbone, guidance = self.problem.backbone, self.problem.guidance
        output = self.branch("text", controls.text)
        if controls.null is not None and guidance != 1:
            null = self.branch("null", controls.null)
            rows = max(output.shape[0], null.shape[0])
            output = backbone.combine(as_batch(output, rows), as_batch(null, rows), guidance)
        return self.problem.scheduler.predict(self.state.repeated(output.shape[0]), output, self.step)

    def branch(self, name: str, embedding: Embedding) -> Latents:
        """The raw output of one guidance branch here; `name` ("text" or "null") is for the ledger."""
        x = self.state.x
        graph = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *embedding.leaves))
        version = tuple(leaf._version for leaf in embedding.leaves)
        for entry in self._known:
            if entry[0] is embedding and entry[1] == version and not graph:
                self._remember(entry)
                return entry[2]
        rows = max(x.shape[0], embedding.tokens.shape[0])
        with torch.set_grad_enabled(graph):
            self.problem.ledger.begin(name, rows)
            output = self.problem.backbone.predict(as_batch(x, rows), self.step, embedding.repeated(rows))
            self.problem.ledger.end(name, output, rows)
        if not graph:
            self._remember((embedding, version, output))
        return output

    def _remember(self, entry: Known) -> None:
        """The last four outputs are kept: each branch at its unsteered and at its latest embedding."""
        self._known = [*(known for known in self._known if known is not entry), entry][-4:]

    def take(self, rows: Rows) -> "Position":
        """The position of the chosen rows (a particle's children, say); what is known about them is kept."""
        chosen = Position(self.problem, self.state[rows], self.step)
        everyone = self.state.x.shape[0]
        chosen._known = [(who, when, output[rows]) for who, when, output in self._known if output.shape[0] == everyone]
        return chosen
