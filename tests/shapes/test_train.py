"""Every stage of the training runs, resumes, and exports files that can be loaded."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPModel

from tta_plugins.shapes import load
from tta_plugins.shapes.stages.loop import Loop, Plan
from tta_plugins.shapes.train import main


@pytest.mark.slow
def test_the_smoke_training_exports_a_pipeline_and_a_reward(tmp_path):
    main(["--smoke", "--stage", "all", "--out", str(tmp_path)])
    load.verify(tmp_path / "weights")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "weights" / "pipeline")
    assert pipeline("a red circle", num_inference_steps=2, output_type="pt").images.shape == (1, 3, 64, 64)
    CLIPModel.from_pretrained(tmp_path / "weights" / "clip")


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path):
    straight = _train(tmp_path / "straight.pt", [12])
    broken = _train(tmp_path / "broken.pt", [5, 12])
    assert torch.equal(straight, broken)


def _train(file, stops):
    for stop in stops:
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 1)
        loop = Loop("line", module, Plan(steps=12, batch=4, rate=1e-2, warmup=2), file, seed=0)
        loop.run(lambda rng, step, module=module: {"loss": module(torch.randn(4, 3)).square().mean()}, until=stop)
    return module.weight.detach()
