"""The noises of some samples of a batch; they are the same as in the whole batch."""

from jaxtyping import Float64
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.noise import KeyedPermutations, NoiseSource, Permutations, UniformSource
from tta_core.values.typing import Latents, evolve, frozen


@frozen
class NoiseRows:
    """Some rows of another source, which always generates noises for all `samples` of its batch."""

    source: NoiseSource
    rows: tuple[int, ...]
    samples: int

    def __call__(self, row: int, child: int) -> Latents:
        """Those samples' noises of one row and child."""
        return self.source(row, child)[list(self.rows)]

    def like(self, tensor: Tensor, *key: int) -> Tensor:
        """Those samples' directions."""
        return self.source.like(tensor.new_empty((self.samples, *tensor.shape[1:])), *key)[list(self.rows)]

    def permutations(self, count: int, length: int, *key: int) -> Permutations:
        """Those samples' permutations."""
        permutations = self.source.permutations(count, length, *key)
        if isinstance(permutations, KeyedPermutations):
            return evolve(permutations, keys=tuple(permutations.keys[row] for row in self.rows))
        return permutations[list(self.rows)]

    def uniform(self, count: int, *key: int) -> Float64[Tensor, "count b"]:
        """Those samples' uniform numbers. Raises `InputError` if the source has none."""
        if not isinstance(self.source, UniformSource):
            raise InputError(
                f"The noises given ({type(self.source).__name__}) have no `uniform(count, *key)`. Add it: this method needs it."
            )
        return self.source.uniform(count, *key)[:, list(self.rows)]
