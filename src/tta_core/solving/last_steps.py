"""The last steps of a sampler as a sampler, for runs that start from an image or enter a pipeline late."""

from tta_core.protocols.scheduler import Scheduler
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.typing import Latents, evolve, frozen


@frozen
class LastSteps:
    """A sampler's last `count` steps, numbered from 0."""

    scheduler: Scheduler
    count: int

    @property
    def steps(self) -> tuple[Step, ...]:
        """The last `count` steps, with indices from 0."""
        return tuple(evolve(step, index=step.index - self._skipped) for step in self.scheduler.steps[self._skipped :])

    @property
    def initial_std(self) -> float:
        """Same as the whole sampler's."""
        return self.scheduler.initial_std

    def predict(self, state: State, output: Latents, step: Step) -> Prediction:
        """The whole sampler's prediction at that step."""
        return self.scheduler.predict(state, output, evolve(step, index=step.index + self._skipped))

    def believe(self, state: State, x0: Latents, step: Step) -> Prediction:
        """The whole sampler's prediction from `x0` at that step."""
        return self.scheduler.believe(state, x0, evolve(step, index=step.index + self._skipped))

    @property
    def _skipped(self) -> int:
        return len(self.scheduler.steps) - self.count
