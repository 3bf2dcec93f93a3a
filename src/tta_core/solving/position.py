"""One point of a trajectory, `here = problem.at(state, step)`: each guidance branch is evaluated there once."""

from collections.abc import Mapping

import torch

from tta_core.errors import RunError
from tta_core.solving.decoding_errors import without_graph
from tta_core.solving.parts import Parts
from tta_core.solving.plain import Known
from tta_core.values.controls import Controls, Embedding, stacked
from tta_core.values.provenance import describe
from tta_core.values.schedules import at_step
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.transition import as_batch
from tta_core.values.typing import Latents, Rows, evolve


class Position:
    """A state before a step, and the networks' outputs there.

    A branch is evaluated again only when *its* embedding changed (it is another object, or was updated in place), and keeps a graph only
    if x or the embedding requires a gradient. If both branches have to be evaluated, with or without a graph, one call of the denoiser
    evaluates them as a batch. x may have K times as many rows as the embeddings, or the reverse: the smaller one is repeated, k-major, so
    that K particles share one embedding and K perturbed embeddings share one x.
    """

    def __init__(self, problem: Parts, state: State, step: Step, known: list[Known] | None = None) -> None:
        self.problem = problem
        self.state = state
        self.step = step
        self._known: list[Known] = [] if known is None else known
        self._uncounted = list(self._known)  # entries of the baseline whose reuse the ledger has not counted yet

    def predict(self, controls: Controls) -> Prediction:
        """The prediction at this position with these controls."""
        backbone, controls = self.problem.backbone, controls.at(self.step.index)
        guidance = at_step(self.problem.guidance, self.step.index, len(self.problem.scheduler.steps))
        branches = {"text": controls.text}
        if controls.null is not None and guidance > 1:
            branches["null"] = controls.null
        outputs = self.branches(branches)
        output = outputs["text"]
        if "null" in outputs:
            rows = max(part.shape[0] for part in outputs.values())
            outputs = {name: as_batch(part, rows) for name, part in outputs.items()}
            output = backbone.combine(outputs["text"], outputs["null"], guidance)
        prediction = self.problem.scheduler.predict(self.state.repeated(output.shape[0]), output, self.step)
        return evolve(prediction, outputs=outputs)

    def believe(self, x0: Latents, eps: Latents | None = None) -> Prediction:
        """The prediction at this position for another clean estimate `x0`; the solver's history and order are kept.

        Without `eps`, x stays and eps follows from it as (x - a x0) / s. With `eps`, x becomes a x0 + s eps.
        """
        state = self.state.repeated(x0.shape[0])
        if eps is not None:
            state = evolve(state, x=self.step.a * x0 + self.step.s * eps)
        return self.problem.scheduler.believe(state, x0, self.step)

    def branch(self, name: str, embedding: Embedding) -> Latents:
        """The raw output of one guidance branch here; `name` ("text" or "null") is for the ledger."""
        return self.branches({name: embedding})[name]

    def branches(self, embeddings: Mapping[str, Embedding]) -> dict[str, Latents]:
        """The raw outputs of guidance branches here, by name. Branches that are not cached share one call if they both need a graph, or
        both do not."""
        known = {name: self._recalled(name, embedding) for name, embedding in embeddings.items()}
        outputs = {name: output for name, output in known.items() if output is not None}
        missing = {name: embedding for name, embedding in embeddings.items() if name not in outputs}
        for names, rows in self._calls(missing):
            for name, output in zip(names, self._evaluated(names, rows), strict=True):
                outputs[name] = output
                if not output.requires_grad:
                    self._remember((missing[name], _versions(missing[name]), output))
        return outputs

    def _calls(self, missing: Mapping[str, Embedding]) -> list[tuple[tuple[str, ...], Embedding]]:
        """The calls of the denoiser: names of branches, and their embeddings as rows. A single call if the branches can share it."""
        repeated = {name: embedding.repeated(max(self.state.x.shape[0], embedding.tokens.shape[0])) for name, embedding in missing.items()}
        graphs = {self._needs_graph(embedding) for embedding in missing.values()}
        together = stacked(list(repeated.values())) if len(repeated) > 1 and len(graphs) == 1 else None
        return [((name,), embedding) for name, embedding in repeated.items()] if together is None else [(tuple(repeated), together)]

    def _evaluated(self, names: tuple[str, ...], embedding: Embedding) -> tuple[Latents, ...]:
        """Calls the denoiser once; returns each branch's rows of its output."""
        rows, ledger = embedding.tokens.shape[0] // len(names), self.problem.ledger
        x = as_batch(as_batch(self.state.x, rows), embedding.tokens.shape[0])
        with torch.set_grad_enabled(self._needs_graph(embedding)):
            ledger.begin(names, rows)
            output = self.problem.backbone.predict(x, self.step, embedding)
            self._check(x, output)
            ledger.end(names, output, rows)
            return (output,) if len(names) == 1 else output.split(rows)

    def _check(self, x: Latents, output: object) -> None:
        backbone = self.problem.backbone
        if not isinstance(output, torch.Tensor) or output.shape != x.shape:
            what = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
            raise RunError(f"{describe(backbone)} predicted {what} for x of shape {tuple(x.shape)}. Return a tensor of the shape of x.")
        if torch.is_grad_enabled() and not output.requires_grad:
            raise without_graph(backbone, "predict")

    def _needs_graph(self, embedding: Embedding) -> bool:
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (self.state.x, *embedding.leaves))

    def _recalled(self, name: str, embedding: Embedding) -> Latents | None:
        """The cached output for an embedding, if it was not updated since and no graph is needed."""
        if self._needs_graph(embedding):
            return None
        entry = next((known for known in self._known if known[0] is embedding and known[1] == _versions(embedding)), None)
        if entry is None:
            return None
        if any(other is entry for other in self._uncounted):
            self._uncounted = [other for other in self._uncounted if other is not entry]
            self.problem.ledger.reuse(name, entry[2].shape[0])
        self._remember(entry)
        return entry[2]

    def _remember(self, entry: Known) -> None:
        """Keeps the last four outputs: those of each branch at its unsteered and at its latest embedding."""
        self._known[:] = [*(known for known in self._known if known is not entry), entry][-4:]

    def take(self, rows: Rows) -> "Position":
        """The position of the chosen rows (such as a particle's children), with their cached outputs."""
        chosen = Position(self.problem, self.state[rows], self.step)
        count = self.state.x.shape[0]
        chosen._known = [(embedding, versions, output[rows]) for embedding, versions, output in self._known if output.shape[0] == count]
        return chosen


def _versions(embedding: Embedding) -> tuple[int, ...]:
    return tuple(leaf._version for leaf in embedding.leaves)
