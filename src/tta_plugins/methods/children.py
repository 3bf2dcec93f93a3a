"""A choice among the children of a step."""

import torch

from tta_core import Controls, Problem
from tta_core.solving import steering
from tta_core.solving.position import Position


def best_child(problem: Problem, children: Position, controls: Controls) -> tuple[Position, Controls]:
    """The position of each sample's best child and its controls, by the reward of its look-ahead; a single child is not scored."""
    samples = len(problem.prompts)
    if children.state.x.shape[0] == samples:
        return children, controls
    with torch.no_grad():
        rows = steering.best(problem.look(children.predict(controls).x0).scores, samples)
    return children.take(rows), controls[rows]
