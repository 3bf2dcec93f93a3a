"""The custom pipelines as diffusers loads them: without a method they equal the stock call bit for bit, and with one they are steered."""

import re
import sys
from pathlib import Path

import diffusers
import numpy
import pytest
import torch
from diffusers import DiffusionPipeline
from stock import NEGATIVE, PROMPTS, brightness, close

from tta_core import steering_hook
from tta_core.errors import IncompatibleError, InputError, UnknownNameError
from tta_core.values.schedules import Every
from tta_plugins.custom_pipelines import custom_pipeline
from tta_plugins.methods.date import DATE
from tta_plugins.shapes.registered import ShapesCLIP

PAGE = Path(__file__).parents[2] / "docs" / "your-pipeline.md"

FAMILIES = {"sd": "stable-diffusion", "sdxl": "stable-diffusion-xl", "sd3": "stable-diffusion-3", "flux-dev": "flux"}
CALL = {"num_inference_steps": 3, "height": 32, "width": 32, "output_type": "latent"}
DATES = {"tta_method": "date", "tta_reward": brightness, "tta_settings": {"rho": 2.0, "updates": Every(1)}}


@pytest.fixture(autouse=True)
def copies(tmp_path, monkeypatch):
    """The folder into which diffusers copies the files of custom pipelines before it imports them."""
    monkeypatch.setattr(diffusers.utils.dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def loaded(folders):
    def load(name):
        options = {"safety_checker": None} if name == "sd" else {}
        pipe = DiffusionPipeline.from_pretrained(
            folders(name), custom_pipeline=custom_pipeline(FAMILIES[name]), trust_remote_code=True, **options
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return load


def drawn(pipe, prompts=PROMPTS, **call):
    torch.manual_seed(1)
    return pipe(prompts, generator=torch.Generator().manual_seed(0), **{**CALL, **call}).images


@pytest.mark.parametrize("name", FAMILIES)
def test_a_loaded_pipeline_equals_stock_without_a_method(loaded, name):
    pipe = loaded(name)
    assert type(pipe).__module__.startswith("diffusers_modules")
    stock = type(pipe).__mro__[1](**pipe.components, **({"requires_safety_checker": False} if name == "sd" else {}))
    stock.set_progress_bar_config(disable=True)
    plain = drawn(stock)
    assert torch.equal(drawn(pipe), plain)
    assert torch.equal(drawn(pipe, tta_method="fixed", tta_reward=brightness), plain)
    assert pipe.tta_snapshots == []
    steered = drawn(pipe, **DATES)
    assert {snapshot.index for snapshot in pipe.tta_snapshots} == {0, 1, 2}
    assert not close(steered, plain, 1e-4), "the method did nothing"
    torch.manual_seed(1)
    with steering_hook(stock, DATE(rho=2.0, updates=Every(1)), brightness, prompts=PROMPTS):
        assert torch.equal(steered, drawn(stock))
    assert torch.equal(drawn(pipe), plain), "the hook was left behind"


def test_the_true_guidance_of_flux_is_passed(loaded):
    pipe = loaded("flux-dev")
    call = {"negative_prompt": [NEGATIVE] * 2, "true_cfg_scale": 3.0}
    assert not close(drawn(pipe, **call, **DATES), drawn(pipe, **call), 1e-4)
    alone = drawn(pipe, true_cfg_scale=3.0, **DATES)
    assert torch.equal(alone, drawn(pipe, **DATES)), "without a negative prompt it has no effect, as in the stock call"


def test_the_reward_reads_the_prompt_of_each_image(loaded):
    pipe, read = loaded("sd"), []

    def reward(images, prompts):
        read.append(tuple(prompts))
        return brightness(images, prompts)

    drawn(pipe, num_images_per_prompt=2, **DATES | {"tta_reward": reward})
    assert {prompts for prompts in read if len(prompts) > 1} == {(PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1])}
    read.clear()
    text, null = pipe.encode_prompt(PROMPTS, "cpu", 1, True)
    embedded = {"prompt_embeds": text, "negative_prompt_embeds": null}
    steered = drawn(pipe, None, **embedded, **DATES | {"tta_reward": reward}, tta_prompts=PROMPTS)
    assert {prompts for prompts in read if len(prompts) > 1} == {tuple(PROMPTS)}
    assert torch.equal(steered, drawn(pipe, **DATES))
    with pytest.raises(InputError, match="Give tta_prompts"):
        drawn(pipe, None, **embedded, **DATES)


REFUSED = {
    "a misspelt argument": ({**DATES, "tta_setings": {}}, InputError, "Did you mean 'tta_settings'"),
    "a reward alone": ({"tta_reward": brightness}, InputError, "tta_reward has no effect without tta_method"),
    "an unknown method": ({**DATES, "tta_method": "dates"}, UnknownNameError, "Did you mean 'date'"),
    "an unknown setting": ({**DATES, "tta_settings": {"row": 1}}, InputError, "tta show date"),
    "settings of an object": ({**DATES, "tta_method": DATE()}, InputError, "Give the settings to its class"),
    "a method of whole chains": ({"tta_method": "best-of-n", "tta_reward": brightness}, IncompatibleError, "tta_core.align"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_arguments_are_refused_before_the_first_step(loaded, case):
    arguments, error, message = REFUSED[case]
    pipe, steps = loaded("sd"), []
    with pytest.raises(error, match=message):
        drawn(pipe, callback_on_step_end=lambda *told: steps.append(told) or {}, **arguments)
    assert steps == []


def test_the_first_lines_of_the_page_raise_the_reward_on_the_embedded_model():
    (block,) = re.findall(r"^```py\n(from diffusers import DiffusionPipeline\n.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    exec(block, names)
    plain = names["pipe"]("a red circle and a blue square", generator=torch.Generator().manual_seed(0), num_inference_steps=5)
    images = [torch.from_numpy(numpy.array(pil)).permute(2, 0, 1)[None] / 255 for pil in (plain.images[0], names["image"])]
    before, after = (float(ShapesCLIP()(image, ["a red circle and a blue square"])) for image in images)
    assert after > before
    assert max(names["scores"]) > before


def test_an_unknown_family_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'flux'"):
        custom_pipeline("fluxx")
