"""The repeated blocks of a network, in the smallest units that are a whole layer.

U-Nets and decoders: each residual block, transformer block, attention and resampling; transformers: each block.
"""

from collections.abc import Iterator

from torch import nn


def blocks(network: nn.Module) -> list[nn.Module]:
    """The innermost members of the network's lists of blocks, in their order; the network itself if it has no list."""
    return list(dict.fromkeys(_pieces(network))) or [network]


def _pieces(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if _lists_blocks(child):
            for block in child.children():
                if any(_lists_blocks(inner) for inner in block.children()):
                    yield from _pieces(block)
                elif not _is_leaf(block):
                    yield block
        else:
            yield from _pieces(child)


def _lists_blocks(module: nn.Module) -> bool:
    """Whether this is a list of modules that are themselves made of modules (a list of plain layers is a part of one block)."""
    return isinstance(module, nn.ModuleList | nn.Sequential) and not all(_is_leaf(block) for block in module)


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None
