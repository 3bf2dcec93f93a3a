"""Writes docs/gallery.md and its images: the first prompts of the shipped set, sampled by several methods on the embedded model.

python docs/generate_gallery.py

No prompt and no image is selected: these are the first eight prompts, with seed 0. They are ordered by what the methods did to the held-out
score, worst first.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import torch
from PIL import Image

import tta_core
from tta_core import steering
from tta_core.protocols.method import Method
from tta_core.running.outcome import Outcome
from tta_core.running.prompt_files import read_prompts
from tta_core.values.images import to_pil
from tta_plugins.bench.prompt_files import SHIPPED
from tta_plugins.methods.baselines import BestOfN
from tta_plugins.methods.das import DAS
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.shapes.registered import ShapesJudge, ShapesStrict

DOCS = Path(__file__).resolve().parent
PAGE, IMAGES = DOCS / "gallery.md", DOCS / "assets" / "gallery"
PROMPTS, STEPS = 8, 10
SIDE, GAP = 128, 4  # pixels
METHODS: Mapping[str, Method] = {
    "best of 4": BestOfN(n=4),
    "DATE": DATE(),
    "Null-TTA": NullTTA(inner_min=2, inner_max=6, rate=0.07, optimizer=steering.Adam(lr=0.03)),
    "DNO": DNO(iterations=5, optimizer=steering.AdamW(lr=0.2), shuffles=20),
    "DAS": DAS(),
}
INTRODUCTION = f"""# Gallery

Images of the methods on [the embedded model](shapes.md), a small Stable Diffusion for coloured shapes, with its CLIP as the
reward. No prompt and no image is selected: these are the first {PROMPTS} prompts of the shipped set `shapes-hard`, with seed 0 and
{STEPS} steps, **ordered by what the methods did to the held-out score, worst first**.

- *Reward* is the reward that the methods optimise: the cosine of image and prompt.
- *Held out* is the probability that the image has exactly the prompt's things, by a network that no method uses. If the reward
  rises and this falls, the method has exploited a weakness of the reward.
- *Right* shows whether a program finds everything in the prompt, and nothing else.
- *Cost* is in rows through the denoiser, forwards and backwards; a plain image takes {2 * STEPS}.

Eight prompts are examples, not evidence: [what the methods do](results.md) has intervals over many prompts, at equal cost. Null-TTA
and DNO have settings of that page, the others their defaults. `python docs/generate_gallery.py` makes this page again.
"""


@attrs.frozen
class MethodImages:
    """The images of one method, one for each prompt, and their numbers on the page."""

    outcome: Outcome
    held_out: Sequence[float]
    right: Sequence[bool]
    cost: float

    def numbers(self, place: int) -> tuple[str, str, str, str]:
        """Reward, held-out score, whether it is right, and cost, of one prompt."""
        right = "yes" if self.right[place] else "no"
        return f"{self.outcome.scores[place]:.3f}", f"{self.held_out[place]:.2f}", right, f"{self.cost:.0f}"


def prompts_of(count: int = PROMPTS) -> list[str]:
    """The first prompts of the set."""
    return [str(prompt) for prompt in read_prompts(SHIPPED / "shapes-hard.csv", "prompt")[:count]]


def sampled(prompts: Sequence[str], names: Sequence[str]) -> dict[str, MethodImages]:
    """The images of the prompts by plain sampling and by each method."""
    found: dict[str, MethodImages] = {}
    for name in names:
        run = tta_core.align(prompts, method=METHODS[name], reward="clip", steps=STEPS, seed=0)
        assert run.baseline is not None
        found.setdefault("plain", _method_images(prompts, run.baseline, 2 * STEPS))
        found[name] = _method_images(prompts, run.result, run.cost.evaluations / len(prompts))
    return found


def _method_images(prompts: Sequence[str], outcome: Outcome, cost: float) -> MethodImages:
    with torch.no_grad():
        judged, right = ShapesJudge()(outcome.pixels, prompts), ShapesStrict()(outcome.pixels, prompts)
    return MethodImages(outcome, judged.tolist(), [bool(one) for one in right], cost)


def ordered(found: Mapping[str, MethodImages]) -> list[int]:
    """The indices of the prompts, ordered by the methods' mean change of the held-out score, worst first."""
    plain = found["plain"].held_out
    change = {place: sum(found[name].held_out[place] - plain[place] for name in METHODS) for place in range(len(plain))}
    return sorted(change, key=lambda place: change[place])


def sheet(found: Mapping[str, MethodImages], place: int) -> Image.Image:
    """One prompt's images side by side, in the table's order."""
    page = Image.new("RGB", (len(found) * (SIDE + GAP) - GAP, SIDE), "white")
    for column, one in enumerate(found.values()):
        image = to_pil(one.outcome.pixels[place]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        page.paste(image, (column * (SIDE + GAP), 0))
    return page


def section(prompt: str, found: Mapping[str, MethodImages], place: int) -> str:
    """The page's section about one prompt: its images, and the numbers under them."""
    rows = zip(("reward", "held out", "right", "cost"), zip(*(one.numbers(place) for one in found.values()), strict=True), strict=True)
    lines = [f"| | {' | '.join(found)} |", f"|---|{'---|' * len(found)}", *(f"| {name} | {' | '.join(row)} |" for name, row in rows)]
    words = f"From left to right: {', '.join(found)}"
    return f'## {prompt}\n\n![{words}](assets/gallery/{slug(prompt)}.webp "{words}")\n\n' + "\n".join(lines) + "\n"


def slug(prompt: str) -> str:
    """A prompt as a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")


def read(page: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """The numbers on the page, by prompt and column."""
    found = {}
    for prompt, table in re.findall(r"^## (.+?)\n(.+?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL):
        (_, *names), *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")]
        found[prompt] = {name: tuple(row[1 + place] for row in rows) for place, name in enumerate(names)}
    return found


def main() -> None:
    """Sample the images and write the page."""
    prompts = prompts_of()
    found = sampled(prompts, list(METHODS))
    IMAGES.mkdir(parents=True, exist_ok=True)
    for old in IMAGES.iterdir():
        old.unlink()
    for place, prompt in enumerate(prompts):
        sheet(found, place).save(IMAGES / f"{slug(prompt)}.webp", quality=88, method=6)
    sections = [section(prompts[place], found, place) for place in ordered(found)]
    PAGE.write_text("\n".join([INTRODUCTION, *sections]), encoding="utf-8")


if __name__ == "__main__":
    main()
