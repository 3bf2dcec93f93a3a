"""`--dry-run` predicts what runs do, and arms with the same networks share the measurements of these networks."""

import pytest
from small_plans import planned

from tta_core.errors import UnknownNameError
from tta_core.running.prepare import prepare
from tta_plugins.bench.dry_run import predicted_lines
from tta_plugins.bench.parts import Parts, arguments
from tta_plugins.cost import measured_calls
from tta_plugins.cost.forecast import forecast

ARMS = [
    {"name": "best of 2", "method": "best-of-n", "set": {"n": 2}},
    {"name": "the same", "method": "best-of-n", "set": {"n": 2}},
    {"name": "plain, eta 1", "method": "fixed", "eta": 1.0},
    {"name": "impossible", "method": "null-tta", "guidance": 1.0},
]


@pytest.fixture(scope="module")
def lines():
    """The lines of a plan, and the number of measured network calls."""
    measured, original = [], measured_calls.MeasuredCalls._measured

    def counted(self, *arguments):
        measured.append(arguments)
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured_calls.MeasuredCalls, "_measured", counted)
        return list(predicted_lines(planned(arms=ARMS), "a100")), len(measured)


def test_each_line_is_the_forecast_of_its_arm(lines):
    plan = planned(arms=ARMS)
    arm, parts = next(arm for arm in plan.arms if arm.name == "best of 2"), Parts(plan)
    with prepare(["a prompt"], **arguments(plan, arm, parts)) as prepared:
        expected = forecast(prepared.setup)
    evaluations, costs = (line.split() for line in lines[0] if line.startswith(arm.name))
    cells = sum(1 for _ in plan.cells(arm))
    assert [int(word) for word in evaluations[3:]] == [cells, expected.evaluations, cells * expected.evaluations]
    assert float(costs[3]) == pytest.approx(cells * expected.total_flops / 1e12, rel=1e-3)
    assert float(costs[4]) == pytest.approx(expected.peaks.total / 1e9, abs=0.01)


def test_arms_with_the_same_networks_share_measured_calls(lines):
    assert lines[1] <= 12  # decoder and reward with and without a graph, with one and two rows; denoiser with one, two and four
    rows = [line.removeprefix(name) for name in ("best of 2", "the same") for line in lines[0] if line.startswith(name)]
    assert [line.split() for line in rows[:2]] == [line.split() for line in rows[2:]]


def test_a_refused_arm_has_a_line_with_the_reason(lines):
    assert sum("cannot be predicted" in line for line in lines[0] if line.startswith("impossible")) == 2
    assert "hours of one a100 in all" in lines[0][-1]


def test_a_device_of_unknown_speed_is_refused():
    with pytest.raises(UnknownNameError, match="abacus"):
        list(predicted_lines(planned(arms=ARMS), "abacus"))
