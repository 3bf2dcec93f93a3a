"""A method inside the pipeline's own call is the same as our own loop."""

import pytest
import torch
from stock import PROMPTS, brightness, close, drawn, prepared, stock

from tta_core import steering_hook
from tta_core.errors import IncompatibleError, InputError
from tta_core.schedules import Every
from tta_plugins.methods.date import DATE
from tta_plugins.methods.null_tta import NullTTA

METHODS = {
    "date": DATE(rho=2.0, updates=Every(2), start="original", prior=0.01),
    "null-tta": NullTTA(particles=1, inner_min=1, inner_max=2),
}


def aligned(name, pipe, method, **options):
    with prepared(name, pipe, 4, **options) as problem:
        *_, last = method.align(problem)
    return last.x0


@pytest.mark.parametrize(
    ("name", "method", "eta"),
    [
        ("sd", "date", 0.0),
        ("sd", "date", 1.0),
        ("sd", "null-tta", 1.0),
        ("sdxl", "date", None),
        ("sd3", "date", None),
        ("pixart-alpha", "date", None),
    ],
)
def test_steering_equals_our_own_loop(pipelines, name, method, eta):
    pipe, method = pipelines(name), METHODS[method]
    plain = stock(name, pipe, 4, eta=eta)
    with steering_hook(pipe, method, brightness, prompts=PROMPTS, eta=eta, guidance=5.0) as snapshots:
        steered = stock(name, pipe, 4, eta=eta)
    ours = aligned(name, pipe, method, eta=eta)
    assert close(ours, steered, 1e-5)
    assert not close(plain, steered, 1e-3), "the method did nothing"
    assert {snapshot.index for snapshot in snapshots} >= {0, 2}
    assert torch.equal(stock(name, pipe, 4, eta=eta), plain), "the hook was left behind"


def test_a_second_call_is_steered_afresh(pipelines):
    pipe = pipelines("sd")
    with steering_hook(pipe, METHODS["date"], brightness, prompts=PROMPTS) as snapshots:
        first, second = stock("sd", pipe, 3), stock("sd", pipe, 3)
    assert torch.equal(first, second)
    indices = [snapshot.index for snapshot in snapshots]
    assert indices == [*indices[: len(indices) // 2]] * 2


def test_without_guidance_the_text_alone_is_steered(pipelines):
    pipe = pipelines("sd")
    with steering_hook(pipe, METHODS["date"], brightness, prompts=PROMPTS):
        steered = stock("sd", pipe, 4, guidance=1.0)
    assert close(aligned("sd", pipe, METHODS["date"], guidance=1.0), steered, 1e-5)


def test_an_error_of_the_reward_reaches_the_pipelines_caller(pipelines):
    def broken(images, prompts):
        raise ValueError("the reward broke")

    pipe = pipelines("sd")
    flags = [parameter.requires_grad for parameter in pipe.unet.parameters()]
    with pytest.raises(Exception, match="the reward broke"), steering_hook(pipe, METHODS["date"], broken, prompts=PROMPTS):
        stock("sd", pipe, 3)
    assert [parameter.requires_grad for parameter in pipe.unet.parameters()] == flags
    assert not pipe.unet._forward_pre_hooks


def test_an_interrupted_call_hands_everything_back(pipelines):
    pipe = pipelines("sd")
    flags = [parameter.requires_grad for parameter in pipe.unet.parameters()]

    def interrupt(pipe, index, time, tensors):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), steering_hook(pipe, METHODS["date"], brightness, prompts=PROMPTS):
        pipe(PROMPTS, num_inference_steps=4, height=32, width=32, latents=drawn("sd", 0)[0], callback_on_step_end=interrupt)
    assert [parameter.requires_grad for parameter in pipe.unet.parameters()] == flags
    assert not pipe.unet._forward_pre_hooks


def test_what_cannot_be_steered_is_refused_with_the_reason(pipelines):
    pipe = pipelines("sd")
    with (
        pytest.raises(IncompatibleError, match="packed into tokens"),
        steering_hook(pipelines("flux-dev"), "date", brightness, prompts="a"),
    ):
        pass
    with (
        pytest.raises(IncompatibleError, match="several particles"),
        steering_hook(pipe, NullTTA(particles=2), brightness, prompts=PROMPTS),
    ):
        stock("sd", pipe, 2)
    with (
        pytest.raises(InputError, match="inference_mode"),
        steering_hook(pipe, DATE(), brightness, prompts=PROMPTS),
        torch.inference_mode(),
    ):
        stock("sd", pipe, 2)
    with pytest.raises(InputError, match="one for each sample"), steering_hook(pipe, DATE(), brightness, prompts=["a"] * 3):
        stock("sd", pipe, 2)
