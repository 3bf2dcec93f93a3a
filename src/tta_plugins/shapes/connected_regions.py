"""Connected regions of a mask, by joining the runs of one row to the overlapping runs of the row above."""

import torch
from torch import Tensor


def connected_regions(mask: Tensor) -> list[Tensor]:
    """The 4-connected regions of a boolean mask [h w], each as a mask, from top to bottom."""
    joined: list[int] = []  # joined[run] is a run of the same region with a smaller number, or itself
    rows: list[list[tuple[int, int, int]]] = []  # (first column, one past the last, run)
    for row in mask.int():
        edges = torch.diff(row, prepend=row.new_zeros(1), append=row.new_zeros(1)).nonzero().flatten().tolist()
        runs = []
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            joined.append(len(joined))
            runs.append((first, last, len(joined) - 1))
            for above_first, above_last, above in rows[-1] if rows else ():
                if above_first < last and first < above_last:
                    one, other = sorted((_root(joined, above), _root(joined, len(joined) - 1)))
                    joined[other] = one
        rows.append(runs)
    regions: dict[int, Tensor] = {}
    for height, runs in enumerate(rows):
        for first, last, run in runs:
            region = regions.setdefault(_root(joined, run), torch.zeros_like(mask))
            region[height, first:last] = True
    return list(regions.values())


def interior(mask: Tensor) -> Tensor:
    """The pixels of a mask whose four neighbours are in it too."""
    inside = mask.clone()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    inside[[0, -1]] = False
    inside[:, [0, -1]] = False
    return inside


def _root(joined: list[int], run: int) -> int:
    while joined[run] != run:
        run = joined[run]
    return run
