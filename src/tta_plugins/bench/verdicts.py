"""The verdict on an arm: a gain, none that can be seen, harm, or a reward that was hacked."""

from collections.abc import Mapping

import attrs

from tta_plugins.bench.statistics import Interval

GAIN, NOTHING, HARM, HACKED = "gain", "no evidence", "harm", "hacked"
MOVED = 0.25
SIGNIFICANT = 0.05


@attrs.frozen
class Evidence:
    """What a verdict is drawn from.

    Attributes:
        target: the gain in what was climbed. jpeg: the same after JPEG, where it was scored.
        primary, adjusted: the gain in the registered score, and its p value adjusted over the arms.
        held_out: gains in scores that the method did not see, their intervals simultaneous over all of them and the panel.
        panel: changes of the panel relative to the mean of plain sampling, likewise simultaneous.
    """

    target: Interval
    primary: Interval
    adjusted: float
    held_out: Mapping[str, Interval]
    panel: Mapping[str, Interval] = attrs.field(factory=dict)
    jpeg: Interval | None = None


@attrs.frozen
class Verdict:
    """A word, and why."""

    word: str
    why: str


def judged(evidence: Evidence) -> Verdict:
    """Hacked: the target's interval lies above 0, and a held-out one below it, or the images changed in kind (an interval of the
    panel beyond a quarter of the plain mean), or nothing of the gain is left after JPEG. Otherwise what the primary score says."""
    against = _against(evidence) if evidence.target.above else []
    if against:
        return Verdict(HACKED, f"the target rose, but {'; '.join(against)}")
    if evidence.adjusted < SIGNIFICANT and evidence.primary.mean != 0:
        word = GAIN if evidence.primary.mean > 0 else HARM
        return Verdict(word, f"{_shown(evidence.primary)}, adjusted p {evidence.adjusted:.2g}")
    seen = f"a gain of {evidence.primary.detectable:.2g} would have been seen with a chance of 80 %"
    return Verdict(NOTHING, f"{_shown(evidence.primary)}, adjusted p {evidence.adjusted:.2g}; {seen}")


def _against(evidence: Evidence) -> list[str]:
    found = [f"{name} fell ({_shown(gain)})" for name, gain in evidence.held_out.items() if gain.below]
    for name, change in evidence.panel.items():
        if change.high < -MOVED or change.low > MOVED:
            found.append(f"{name} changed by {change.mean:+.0%}")
    if evidence.jpeg is not None and not evidence.jpeg.above and evidence.jpeg.high < evidence.target.mean:
        found.append(f"JPEG removes the gain ({_shown(evidence.jpeg)})")
    return found


def _shown(gain: Interval) -> str:
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
