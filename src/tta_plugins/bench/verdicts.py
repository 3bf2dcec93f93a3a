"""The verdict on an arm: a gain, no evidence of one, harm, or a hacked reward."""

from collections.abc import Mapping

import attrs

from tta_plugins.bench.statistics import Interval

GAIN, NOTHING, HARM, HACKED = "gain", "no evidence", "harm", "hacked"
MOVED = 0.25
SIGNIFICANT = 0.05


@attrs.frozen
class Evidence:
    """What a verdict is based on.

    Attributes:
        target: the gain in the reward that the method optimised.
        primary: the gain in the primary score.
        adjusted: its p value, adjusted over the arms.
        held_out: gains in scores that the method did not optimise; their intervals are simultaneous with each other and the panel's.
        panel: changes of the panel relative to its mean in plain sampling, with simultaneous intervals.
        jpeg: the gain in the target after JPEG; None if it was not scored.
    """

    target: Interval
    primary: Interval
    adjusted: float
    held_out: Mapping[str, Interval]
    panel: Mapping[str, Interval] = attrs.field(factory=dict)
    jpeg: Interval | None = None


@attrs.frozen
class Verdict:
    """A verdict in one word, and the reason for it."""

    word: str
    why: str


def verdict_of(evidence: Evidence) -> Verdict:
    """The verdict.

    It is "hacked" if the target's interval is above 0 and one of these holds: a held-out score's interval is below 0; a number of the
    panel changed by more than a quarter of its plain mean; JPEG removes the gain. Otherwise the primary score decides.
    """
    against = _against(evidence) if evidence.target.above else []
    if against:
        return Verdict(HACKED, f"the target rose, but {'; '.join(against)}")
    if evidence.adjusted < SIGNIFICANT and evidence.primary.mean != 0:
        word = GAIN if evidence.primary.mean > 0 else HARM
        return Verdict(word, f"{_shown(evidence.primary)}, adjusted p {evidence.adjusted:.2g}")
    power = f"a true gain of {evidence.primary.detectable:.2g} would have been detected with a probability of 80 %"
    return Verdict(NOTHING, f"{_shown(evidence.primary)}, adjusted p {evidence.adjusted:.2g}; {power}")


def _against(evidence: Evidence) -> list[str]:
    reasons = [f"{name} fell ({_shown(gain)})" for name, gain in evidence.held_out.items() if gain.below]
    for name, change in evidence.panel.items():
        if change.high < -MOVED or change.low > MOVED:
            reasons.append(f"{name} changed by {change.mean:+.0%}")
    if evidence.jpeg is not None and not evidence.jpeg.above and evidence.jpeg.high < evidence.target.mean:
        reasons.append(f"JPEG removes the gain ({_shown(evidence.jpeg)})")
    return reasons


def _shown(gain: Interval) -> str:
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
