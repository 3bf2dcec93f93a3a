"""EBCA compared with the authors' U-Net: every layer's context at the first step, both branches at each step, and the result."""

import pytest
import torch
from published import FOLDER, case, close, dark, repeated

import tta_core as tta
from tta_core.errors import IncompatibleError
from tta_core.values.schedules import Steps
from tta_plugins.methods.ebca import EBCA
from tta_plugins.methods.fk import FK
from tta_plugins.methods.sequential import Sequential

SETTINGS = {"steps": 4, "guidance": 7.5}


def method_of(settings, **changed):
    return EBCA(**{"attention": settings["gamma_attn"], "norm": settings["gamma_norm"], **changed})


def run(method, recorded, memory=()):
    settings = recorded.settings
    with repeated(method, dark, settings["prompts"], latents=recorded["init/latents"], memory=memory, **SETTINGS) as problem:
        return [*method.align(problem)], problem


def test_every_step_and_the_result_equal_the_authors():
    recorded = case("ebca_main")
    method = method_of(recorded.settings)
    (*snapshots, last), problem = run(method, recorded)
    for i, snapshot in enumerate(snapshots):
        step = f"step{i:02d}"
        eps = recorded[f"{step}/eps_uncond"] + 7.5 * (recorded[f"{step}/eps_text"] - recorded[f"{step}/eps_uncond"])
        table = problem.steps[i]
        close(snapshot.x0, (recorded[f"{step}/x_t"] - table.s * eps) / table.a, 1e-4)
    close(last.x0, recorded["final/latents"], 1e-4)


def test_every_layer_uses_the_recorded_context():
    recorded = case("ebca_main")
    method = method_of(recorded.settings)
    with repeated(method, dark, recorded.settings["prompts"], latents=recorded["init/latents"], **SETTINGS) as problem:
        told, unet = [], problem.backbone.networks["denoiser"]
        steered = method.steered(problem.controls, 0, 4)
        together = tta.values.controls.stacked([steered.null, steered.text])
        layers = [module for name, module in unet.named_modules() if name.endswith("attn2")]
        hooks = []

        def seen(layer, args, kwargs):
            told.append(kwargs["encoder_hidden_states"])

        from tta_plugins.backbones import attention_energy

        with torch.no_grad(), attention_energy.attention_moved(unet, together.attention):
            hooks = [layer.register_forward_pre_hook(seen, with_kwargs=True) for layer in layers]
            unet(recorded["init/latents"].repeat(2, 1, 1, 1), problem.steps[0].time, encoder_hidden_states=together.tokens)
        for hook in hooks:
            hook.remove()
    close(told[0], together.tokens, 1e-6)
    assert len(told) == 4
    for layer, context in enumerate(told[1:]):
        close(context, recorded[f"step00/layer{layer}/context_after"], 1e-4)


def test_the_result_is_the_same_in_chunks_and_from_its_own_controls():
    recorded = case("ebca_main")
    method = method_of(recorded.settings)
    (*_, last), problem = run(method, recorded, memory=("chunked",))
    close(last.x0, recorded["final/latents"], 1e-4)
    with torch.no_grad():
        close(problem.sample(last.controls), last.x0, 1e-5)
    assert problem.controls.text.attention is None


@pytest.mark.parametrize("changed", [{"attention": 0.04}, {"norm": 0.0}, {"tokens": {3: 2.0}}])
def test_a_changed_setting_is_detected(changed):
    recorded = case("ebca_main")
    (*_, last), _ = run(method_of(recorded.settings, **changed), recorded)
    with pytest.raises(AssertionError):
        close(last.x0, recorded["final/latents"], 1e-4)


def test_without_weights_it_is_plain_sampling():
    recorded = case("ebca_main")
    (*_, last), problem = run(EBCA(0.0, 0.0), recorded)
    with torch.no_grad():
        assert torch.equal(last.x0, problem.sample(problem.controls))


def test_inside_the_pipelines_own_call_it_is_the_same():
    from diffusers import StableDiffusionPipeline

    recorded = case("ebca_main")
    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER / "tiny-sd", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    prompts, method = recorded.settings["prompts"], method_of(recorded.settings)
    call = {"num_inference_steps": 4, "guidance_scale": 7.5, "latents": recorded["init/latents"], "output_type": "latent"}
    with tta.steering_hook(pipeline, method, dark, prompts=prompts):
        steered = pipeline(prompts, **call).images
    close(steered, recorded["final/latents"], 1e-4)
    plain = pipeline(prompts, **call).images
    assert (plain - steered).abs().max() > 1e-2, "the hook left the attention moved"


def test_another_denoiser_is_refused_by_name():
    from tta_core.testing.problems import problem_for

    with pytest.raises(IncompatibleError, match="GaussianMixture"):
        problem_for(EBCA())


def test_particles_are_sampled_with_the_changed_context():
    """After EBCA, FK's particles share the changed context of each step, and each has the result that it would have alone with these
    embeddings."""
    recorded = case("ebca_main")
    both = Sequential((method_of(recorded.settings), FK(2, 0.0, updates=Steps((0,)), threshold=0.5)))
    with repeated(both, dark, recorded.settings["prompts"], eta=1.0, **SETTINGS) as problem:
        *_, last = both.align(problem)
        assert last.controls.at(0).text.attention is not None
        with torch.no_grad():
            close(problem.sample(last.controls), last.x0, 1e-4)
            assert (problem.sample(tta.evolve(last.controls, by_step={})) - last.x0).abs().max() > 1e-2
