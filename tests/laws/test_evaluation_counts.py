"""Monte Carlo methods and searches make the evaluations that their docstrings give, and none twice."""

import pytest

from tta_core.testing.problems import problem_for, solved
from tta_core.values.schedules import Constant, Steps
from tta_plugins.methods.das import DAS
from tta_plugins.methods.fk import FK
from tta_plugins.methods.noise_search import NoiseSearch
from tta_plugins.methods.rbf import RBF
from tta_plugins.methods.reno import ReNO
from tta_plugins.methods.svdd import SVDD

STEPS = 4
COUNTS = [
    # method; rows of each branch, of which backward; images decoded, of which backward
    (DAS(3, tempering=Constant(1.0)), 3 * STEPS, 3 * STEPS, 3 * STEPS + 3, 3 * STEPS),
    (DAS(3, tempering=Constant(1.0), threshold=2.0), 3 * STEPS, 3 * STEPS, 3 * STEPS + 3, 3 * STEPS),
    (DAS(3, tempering=Constant(1.0), start=2), 3 * STEPS, 3 * 2, 3 * 2 + 3, 3 * 2),
    (DAS(3, tempering=Constant(1.0), proposal="prior"), 3 * STEPS, 0, 3 * STEPS + 3, 0),
    (FK(3, updates=Steps((0, 2))), 3 * STEPS, 0, 3 * 2 + 3, 0),
    (SVDD(3), 3 * (STEPS - 1) + 1, 0, 3 * (STEPS - 1) + 1, 0),  # the result is decoded too
    (RBF(evaluations=22, chains=2, starts=3), 22, 0, 22, 0),
    (ReNO(3), 3 * STEPS, 2 * STEPS, 3, 2),
    (NoiseSearch("random", 2), 6 * STEPS, 0, 6, 0),
    (NoiseSearch("zero-order", 2, 3), 7 * STEPS, 0, 7, 0),
]


@pytest.mark.parametrize(("method", "rows", "backward", "images", "images_backward"), COUNTS, ids=lambda value: repr(value)[:40])
def test_evaluations_agree_with_the_docstring(method, rows, backward, images, images_backward):
    problem = problem_for(method, steps=STEPS)
    solved(method, problem)
    counts, samples = problem.ledger.counts, len(problem.prompts)
    for branch in ("text", "null"):
        assert (counts[branch], counts[f"{branch}.backward"]) == (rows * samples, backward * samples), counts
    decodes, decodes_backward = (sum(counts[f"{name}{way}"] for name in ("decode", "look-ahead")) for way in ("", ".backward"))
    assert (decodes, decodes_backward) == (images * samples, images_backward * samples), counts
    assert (counts["reward"], counts["reward.backward"]) == (images * samples, images_backward * samples), counts
