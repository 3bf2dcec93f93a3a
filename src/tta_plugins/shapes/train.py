"""Trains the embedded model: `python -m tta_plugins.shapes.train --stage all --out DIR`.

Every stage is seeded, saves a checkpoint every three minutes, continues from it when it is started again, and reads the files
of earlier stages in DIR. `export` writes DIR/weights in the shipped layout.

    vae -> polish          images to latents and back
    vae -> pool -> unet    latents of 64,000 captioned images, text encoder, denoiser
    clip                   the reward, independent of the above
    judge                  the convnet judge, independent of the above
"""

import argparse
import os
from pathlib import Path
from typing import TypeVar

import attrs
import torch
from diffusers import AutoencoderTiny
from torch import nn

from tta_plugins.shapes import models
from tta_plugins.shapes.judge import JudgeNet
from tta_plugins.shapes.stages import export
from tta_plugins.shapes.stages.clip import reward_parts, train_clip
from tta_plugins.shapes.stages.dataset import Pool, make_pool
from tta_plugins.shapes.stages.decoder_finetuning import polish_decoder
from tta_plugins.shapes.stages.judge import train_judge
from tta_plugins.shapes.stages.unet import denoiser, train_unet
from tta_plugins.shapes.stages.vae import train_vae
from tta_plugins.shapes.training_plans import FULL, SMOKE, Plans

Module = TypeVar("Module", bound=nn.Module)
STAGES = ("vae", "polish", "pool", "unet", "clip", "judge", "export")


def train(stage: str, out: Path, plans: Plans, seed: int, device: str, chosen: dict[str, str]) -> None:
    """Run one stage. `chosen` names checkpoints that `export` uses instead of the last ones."""
    out.mkdir(parents=True, exist_ok=True)
    if stage == "vae":
        train_vae(out, plans.vae, seed, device)
    elif stage == "polish":
        polish_decoder(_vae(out), out, plans.polish, seed, device)
    elif stage == "pool":
        _pool(out, plans, seed, device)
    elif stage == "unet":
        train_unet(out, _pool(out, plans, seed, device), plans.text, plans.unet, seed, device)
    elif stage == "clip":
        train_clip(out, plans.text, plans.clip, seed, device)
    elif stage == "judge":
        train_judge(out, plans.judge, seed, device)
    elif stage == "export":
        _export(out, _pool(out, plans, seed, device), seed, chosen)
    else:
        raise ValueError(f"No stage is called {stage!r}. Known: {', '.join(STAGES)} and all.")


def _export(out: Path, pool: Pool, seed: int, chosen: dict[str, str]) -> None:
    weights = out / "weights"
    vae = _vae(out)
    if (out / "polish.pt").exists():
        _averaged(vae.decoder, out / "polish.pt")
    parts = _averaged(denoiser(seed, "cpu"), out / chosen.get("unet", "unet.pt"))
    export.export_pipeline(weights, vae, parts["text"], parts["unet"], pool.scale)
    export.export_clip(weights, _averaged(reward_parts(seed, "cpu"), out / chosen.get("clip", "clip.pt"))["clip"])
    export.export_judge(weights, _averaged(JudgeNet(), out / "judge.pt"))
    export.write_sums(weights)
    print(f"wrote {weights}", flush=True)


def _vae(out: Path) -> AutoencoderTiny:
    return _averaged(models.vae(), out / "vae.pt")


def _pool(out: Path, plans: Plans, seed: int, device: str) -> Pool:
    return make_pool(_vae(out).to(device), plans.pool, seed, out / "pool.pt", device)


def _averaged(module: Module, file: Path) -> Module:
    state = torch.load(file, map_location="cpu", weights_only=True)
    module.load_state_dict(state.get("smooth", state))
    return module.eval()


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tta_plugins.shapes.train", description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints, pool and exported weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="another number of steps for the stage that is given")
    parser.add_argument("--smoke", action="store_true", help="check in half a minute that every stage runs; the weights are useless")
    parser.add_argument("--unet", default="unet.pt", help="export this kept checkpoint, such as unet-004000.pt")
    parser.add_argument("--clip", default="clip.pt", help="the same for the reward")
    given = parser.parse_args(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    plans = SMOKE if given.smoke else FULL
    if given.steps is not None:
        if given.stage not in ("vae", "polish", "unet", "clip", "judge"):
            parser.error(f"--steps needs one of the stages vae, polish, unet, clip and judge, but --stage is {given.stage}")
        plan = attrs.evolve(getattr(plans, given.stage), steps=given.steps)
        plans = attrs.evolve(plans, **{given.stage: plan})
    for stage in STAGES if given.stage == "all" else (given.stage,):
        train(stage, given.out, plans, given.seed, given.device, {"unet": given.unet, "clip": given.clip})


if __name__ == "__main__":
    main()
