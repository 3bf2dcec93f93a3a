"""Noise keyed by (seed, sample, step, child), not by call order; or given tensors, to repeat a published run."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.arguments import several, whole
from tta_core.values.typing import Latents, frozen


@runtime_checkable
class NoiseSource(Protocol):
    """A source of standard normal noises, which gives the same noise for the same key."""

    def __call__(self, row: int, child: int) -> Latents:
        """The noises of one row of the controls (0: x_T, i + 1: step i) and one child (0 is the one in the controls)."""
        ...

    def like(self, tensor: Tensor, *key: int) -> Tensor:
        """Standard normals in the shape of a tensor whose dimension 0 is samples: directions, perturbations."""
        ...

    def permutations(self, count: int, length: int, *key: int) -> "Permutations":
        """For each sample, `count` random permutations of 0 ... `length` - 1."""
        ...


@runtime_checkable
class UniformSource(Protocol):
    """A noise source that also gives uniform random numbers, for methods that resample particles."""

    def uniform(self, count: int, *key: int) -> Float64[Tensor, "count b"]:
        """For each sample, `count` numbers from [0, 1) in double precision."""
        ...


Key = tuple[int, ...]


@frozen
class KeyedPermutations:
    """Permutations `(b, length)`, int32, generated one after another, because 100 permutations of a long vector do not fit in memory."""

    keys: tuple[tuple[int | str, ...], ...]
    count: int
    length: int
    device: torch.device

    def __iter__(self) -> Iterator[Int[Tensor, "b length"]]:
        for place in range(self.count):
            generators = [torch.Generator().manual_seed(hashed((*key, place))[0]) for key in self.keys]
            yield torch.stack([torch.randperm(self.length, generator=each, dtype=torch.int32, device="cpu") for each in generators]).to(
                self.device
            )


Permutations = Int[Tensor, "b count length"] | KeyedPermutations


@frozen
class KeyedNoise:
    """Noises computed from their key on the CPU, so that they are the same on every device and in every batch.

    `samples[j]` distinguishes sample j from others of the same seed: `align` numbers the repetitions of a prompt, so that a prompt's noise
    does not depend on the other prompts.
    """

    seeds: tuple[int, ...]
    samples: tuple[int, ...]
    shape: tuple[int, int, int]
    device: torch.device

    def __call__(self, row: int, child: int) -> Latents:
        """The noises of one row and child, one per sample."""
        return torch.stack([keyed_normal((*key, row, child), self.shape) for key in self._keys]).to(self.device)

    def like(self, tensor: Tensor, *key: int) -> Tensor:
        """Standard normals keyed by (seed, sample, *key)."""
        return torch.stack([keyed_normal((*own, "like", *key), tensor.shape[1:]) for own in self._keys]).to(tensor)

    def permutations(self, count: int, length: int, *key: int) -> "Permutations":
        """Random permutations keyed by (seed, sample, *key, place); each is generated when it is read, and not kept."""
        return KeyedPermutations(tuple((*own, "permutation", *key) for own in self._keys), count, length, self.device)

    def uniform(self, count: int, *key: int) -> Float64[Tensor, "count b"]:
        """Uniform numbers keyed by (seed, sample, *key)."""
        generators = [torch.Generator().manual_seed(hashed((*own, "uniform", *key))[0]) for own in self._keys]
        columns = [torch.rand(count, generator=generator, dtype=torch.float64, device="cpu") for generator in generators]
        return torch.stack(columns, 1).to(self.device)

    @property
    def _keys(self) -> tuple[tuple[int, int], ...]:
        return tuple(zip(self.seeds, self.samples, strict=True))


@frozen
class GivenNoise:
    """Noises that the user gives. Other noises come from `rest`; without `rest`, a missing noise raises an error that names it.

    Attributes:
        rows: standard normals of the trajectory, `rows[row][child]`.
        rest: the source of all other noises.
        uniforms: by key, `(count, b)` in double precision: uniform random numbers for resampling. Each method's documentation lists its
            keys.
        directions: by key, standard normals `(b, ...)`: perturbations, and the noises with which a method goes back to an earlier step.
    """

    rows: tuple[Float[Tensor, "_ _ _ _ _"], ...]
    rest: NoiseSource | None = None
    uniforms: Mapping[Key, Float64[Tensor, "_ b"]] = attrs.field(factory=dict)
    directions: Mapping[Key, Float[Tensor, "b ..."]] = attrs.field(factory=dict)

    def __call__(self, row: int, child: int) -> Latents:
        """The given noises of one row and child."""
        if row < len(self.rows) and child < self.rows[row].shape[0]:
            return self.rows[row][child]
        return self._rest(f"noise row {row}, child {child}")(row, child)

    def like(self, tensor: Tensor, *key: int) -> Tensor:
        """The given direction of a key."""
        if key in self.directions:
            return self.directions[key].to(tensor)
        return self._rest(f"a direction for {key}").like(tensor, *key)

    def permutations(self, count: int, length: int, *key: int) -> "Permutations":
        """The permutations of `rest`."""
        return self._rest(f"permutations for {key}").permutations(count, length, *key)

    def uniform(self, count: int, *key: int) -> Float64[Tensor, "count b"]:
        """The given uniforms of a key. Raises `InputError` for a wrong number of them."""
        if key not in self.uniforms:
            rest = self._rest(f"{count} uniform numbers for {key}")
            if not isinstance(rest, UniformSource):
                raise InputError(
                    f"The source of other noises ({type(rest).__name__}) has no `uniform(count, *key)`. Give `uniforms` for {key}."
                )
            return rest.uniform(count, *key)
        given = self.uniforms[key]
        if given.shape[0] != count:
            raise InputError(f"The run needs {count} uniform numbers for {key}, but {given.shape[0]} were given. Give {count}.")
        return given

    def _rest(self, needed: str) -> NoiseSource:
        if self.rest is None:
            given = [noises.shape[0] for noises in self.rows]
            raise InputError(
                f"The run needs {needed}, but these noises were given: {given} children per row, directions for {sorted(self.directions)}, "
                f"uniforms for {sorted(self.uniforms)}. Row 0 is x_T, row i + 1 belongs to step i; K particles need K children in every "
                "row. Give more, or give `rest`, a source of all other noises."
            )
        return self.rest


def keyed_noises(prompts: tuple[str, ...], seed: int | Sequence[int], shape: tuple[int, int, int], device: torch.device) -> KeyedNoise:
    """Noises by (seed, sample, step, child). `sample` counts the repetitions of one prompt, so the other prompts have no influence."""
    each = several("seed", seed)
    seeds = tuple(whole("seed", one) for one in ((seed,) * len(prompts) if each is None else each))
    if len(seeds) != len(prompts):
        raise InputError(f"{len(seeds)} seeds for {len(prompts)} prompts. Give one seed for all, or one for each prompt.")
    seen: Counter[tuple[str, int]] = Counter()
    samples = []
    for key in zip(prompts, seeds, strict=True):
        samples.append(seen[key])
        seen[key] += 1
    return KeyedNoise(seeds, tuple(samples), shape, device)


def keyed_normal(key: tuple[int | str, ...], shape: Sequence[int]) -> Tensor:
    """A standard normal tensor that is a function of its key alone.

    torch's CPU generator uses 32 bits of a seed. So the result is the scaled sum of two samples, each seeded with 32 bits of the key's
    hash.
    """
    halves = (torch.Generator("cpu").manual_seed(half) for half in hashed(key))
    first, second = (torch.randn(tuple(shape), generator=half, dtype=torch.float32, device="cpu") for half in halves)
    return (first + second) / math.sqrt(2)


def hashed(key: tuple[int | str, ...]) -> tuple[int, int]:
    """Two independent 32-bit seeds of a key."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big")
