"""DATE compared with the authors' run: two prompts in one batch, both starts."""

import pytest
from published import case, close, near_target, repeated

from tta_core.values.schedules import Every
from tta_plugins.methods.date import DATE


@pytest.mark.parametrize(("name", "start"), [("date_ir_target_sf1_org", "original"), ("date_ir_target_sf5_dyn", "current")])
def test_every_update_and_the_image_equal_the_authors(name, start):
    recorded = case(name)
    every = recorded.settings["skip_freq"]
    method = DATE(rho=recorded.settings["lr_upt_prompt"], updates=Every(every), start=start, clamp=False)
    with repeated(method, near_target, recorded.settings["prompts"], steps=10, guidance=8.0, latents=recorded["init/latents"]) as problem:
        close(problem.controls.text.tokens, recorded["prompt_embeds/text"], 1e-5)
        close(problem.controls.null.tokens, recorded["prompt_embeds/uncond"], 1e-5)
        *snapshots, last = method.align(problem)
    updates = [snapshot for snapshot in snapshots if snapshot.gradient]
    assert [update.index for update in updates] == list(range(0, 10, every))
    for update in updates:
        step = f"step{update.index:02d}/upd0"
        close(update.controls.text.tokens, recorded[f"{step}/emb_before"], 1e-4)
        close(update.x0, recorded[f"{step}/x0_hat"], 1e-4)
        close(update.scores, recorded[f"{step}/reward"], 1e-4)
        close(-update.gradient[0], recorded[f"{step}/grad"], 1e-4)
    close(last.controls.text.tokens, recorded["step09/emb"], 1e-4)
    close(last.x0, recorded["final/latents"], 1e-4)
    close(last.images, recorded["final/image"], 1e-4)


def test_a_changed_step_length_is_detected():
    recorded = case("date_ir_target_sf5_dyn")
    method = DATE(rho=0.45, updates=Every(5), clamp=False)
    with repeated(method, near_target, recorded.settings["prompts"], steps=10, guidance=8.0, latents=recorded["init/latents"]) as problem:
        *_, last = method.align(problem)
    with pytest.raises(AssertionError):
        close(last.x0, recorded["final/latents"], 1e-4)
