"""Layout pre-training of text towers: they predict a caption's things, their sides and the background.

Without it the relation words collapse into one state, which no amount of image training corrects.
"""

import random
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTokenizer

from tta_plugins.shapes.grammar import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, Caption, Thing, draw_caption
from tta_plugins.shapes.stages.loop import Loop, Plan
from tta_plugins.shapes.tokenizer import CONTEXT

THINGS = tuple(Thing(colour, shape) for colour in COLOURS for shape in SHAPES)
ROLES = ("absent", "alone", *RELATIONS)
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", "and": "and"}
GROUNDS = (None, *BACKGROUNDS)


class LayoutHead(nn.Module):
    """Predicts the roles of the 18 things and the background from a state, linearly."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.roles = nn.Linear(width, len(THINGS) * len(ROLES))
        self.ground = nn.Linear(width, len(GROUNDS))

    def loss(self, states: Tensor, roles: Tensor, ground: Tensor) -> Tensor:
        """The cross entropies in nats, averaged over states [n d]; those of the roles are summed over the things."""
        logits = self.roles(states).unflatten(-1, (len(THINGS), len(ROLES)))
        each = functional.cross_entropy(logits.flatten(0, 1), roles.flatten())
        return each * len(THINGS) + functional.cross_entropy(self.ground(states), ground)


def layout_targets(captions: list[Caption]) -> tuple[Tensor, Tensor]:
    """Roles [n 18] and backgrounds [n], as class numbers."""
    roles = torch.zeros(len(captions), len(THINGS), dtype=torch.long)
    for row, caption in enumerate(captions):
        if caption.relation is None:
            roles[row, THINGS.index(caption.things[0])] = ROLES.index("alone")
            continue
        for thing, role in zip(caption.things, (caption.relation, OPPOSITE[caption.relation]), strict=True):
            roles[row, THINGS.index(thing)] = ROLES.index(role)
    return roles, torch.tensor([GROUNDS.index(caption.background) for caption in captions])


def tokenize(tokenizer: CLIPTokenizer, captions: list[Caption] | list[str], device: str) -> Tensor:
    """Token ids [n 16], padded."""
    texts = [str(caption) for caption in captions]
    tokens = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
    return tokens.input_ids.to(device)


def layout_loss(head: LayoutHead, states: Tensor, tokens: Tensor, end: int, captions: list[Caption]) -> Tensor:
    """The head's loss at the end token and at every padding token after it, which all attend to the whole caption."""
    roles, ground = (target.to(states.device) for target in layout_targets(captions))
    row, column = (tokens == end).nonzero(as_tuple=True)
    return head.loss(states[row, column], roles[row], ground[row])


def train_layout(
    text: nn.Module,
    tokenizer: CLIPTokenizer,
    out: Path,
    plan: Plan,
    seed: int,
    device: str,
    *,
    head: LayoutHead,
) -> None:
    """Train `text`, a CLIP text tower, and its head in place. The joint training continues with both."""
    torch.manual_seed(seed)
    both = nn.ModuleDict({"text": text, "head": head})

    def losses(rng: random.Random, step: int) -> dict[str, Tensor]:
        captions = [draw_caption(rng, 1 if rng.random() < 0.2 else 2) for _ in range(plan.batch)]
        tokens = tokenize(tokenizer, captions, device)
        states = text(input_ids=tokens).last_hidden_state
        return {"loss": layout_loss(head, states, tokens, tokenizer.eos_token_id, captions)}

    Loop("text", both, plan, out / "text.pt", seed).run(losses)
