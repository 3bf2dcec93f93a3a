"""Clean latents as a reward sees them: decoded to images and scored."""

from collections.abc import Mapping

import attrs
from torch import Tensor

from tta_core.values.typing import Images, Latents, Scores, frozen


@frozen
class Look:
    """Clean latents with their decoded images and scores. `parts` are the scores of a mixture's rewards, by name."""

    x0: Latents
    images: Images
    scores: Scores
    parts: Mapping[str, Scores] = attrs.field(factory=dict)

    def __getitem__(self, rows: slice | Tensor) -> "Look":
        """Some rows, without a graph."""
        x0, images, scores = (tensor[rows].detach() for tensor in (self.x0, self.images, self.scores))
        return Look(x0, images, scores, {name: part[rows].detach() for name, part in self.parts.items()})
