"""What differs between families of pipelines; everything else is `PipelineBackbone`'s."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from tta_core._typing import Latents
from tta_core.controls import Embedding

Pipeline = Any


@runtime_checkable
class Family(Protocol):
    """A family of pipelines: how its text is encoded, and how its denoiser is called."""

    @property
    def denoiser(self) -> str:
        """The pipeline's attribute that holds the denoiser."""
        ...

    @property
    def steps(self) -> int:
        """How many steps its own pipeline takes by default."""
        ...

    @property
    def guidance(self) -> float:
        """The guidance of its own pipeline by default."""
        ...

    @property
    def has_null(self) -> bool:
        """Whether there is an unconditional branch."""
        ...

    def side(self, pipeline: Pipeline) -> int:
        """Pixels of the square that its own pipeline draws by default."""
        ...

    def channels(self, pipeline: Pipeline) -> int:
        """Channels of the latents."""
        ...

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """The text embedding, in any dtype."""
        ...

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """The null embedding, in any dtype; None stands for no negative prompt."""
        ...

    def predict(self, pipeline: Pipeline, x: Latents, time: float, embedding: Embedding) -> Latents:
        """The denoiser's output. x (scaled for it) and the embedding come in the denoiser's dtype."""
        ...
