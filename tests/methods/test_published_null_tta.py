"""Null-TTA compared with the authors' runs, with and without gradients: each inner step from its recorded state, and the whole run."""

import pytest
import torch
from published import Case, case, close, dark, repeated

import tta_core as tta
from tta_core.solving import steering
from tta_core.solving.estimators import Exact, ZerothOrder
from tta_plugins.methods.null_tta import NullTTA


class Recorded:
    """The recorded noises, and the recorded directions of the zeroth-order run."""

    def __init__(self, recorded: Case, steps: int) -> None:
        self.recorded = recorded
        particles = recorded.settings["num_particles"]
        self.rows = [recorded["init/latents"]]
        for i in range(steps):
            generator = torch.Generator().manual_seed(int(recorded.scalars[f"step{i:02d}/t"]))
            self.rows.append(torch.randn(particles, 4, 8, 8, generator=generator))

    def __call__(self, row: int, child: int) -> torch.Tensor:
        return self.rows[row][child : child + 1]

    def like(self, tensor: torch.Tensor, *key: int) -> torch.Tensor:
        step, inner, direction, _ = key
        return self.recorded[f"step{step:02d}/inner{inner}/v{direction}"]

    def permutations(self, count: int, length: int, *key: int) -> torch.Tensor:
        raise AssertionError("Null-TTA permutes nothing")


def method_of(recorded: Case) -> NullTTA:
    settings = recorded.settings
    gradient_free = settings["zo_mu"] is not None
    return NullTTA(
        particles=settings["num_particles"],
        inner_min=settings["min_inner_steps"],
        inner_max=settings["max_inner_steps"],
        rate=settings["tampering_coef"],
        reward_weight=settings["lambda_alpha"],
        penalty_weight=settings["lambda_reg"],
        variance=settings["phi_variance"],
        guidance_factor="released",
        estimator=ZerothOrder(settings["zo_mu"], settings["zo_K"]) if gradient_free else Exact(),
        optimizer=steering.Adam(settings["lr_uncond"]),
    )


@pytest.fixture(params=["nulltta_grad_dark", "nulltta_zo_dark"])
def run(request):
    recorded = case(request.param)
    steps, method = recorded.settings["num_inference_steps"], method_of(recorded)
    noises = Recorded(recorded, steps)
    with repeated(method, dark, recorded.settings["prompt"], steps=steps, guidance=7.5, noises=noises) as problem:
        yield recorded, method, problem


def test_schedules_equal_the_authors(run):
    recorded, method, problem = run
    total = len(problem.steps)
    for step in problem.steps:
        assert method.inner(step.index, total) == recorded.scalars[f"step{step.index:02d}/n_inner"]


def test_each_inner_step_from_the_recorded_state(run):
    recorded, method, problem = run
    problem = problem.check(method.needs)
    phi = recorded["emb/null"]
    for step in problem.steps:
        name = f"step{step.index:02d}"
        here = problem.at(tta.State(recorded[f"{name}/x_t"]), step)
        reference = here.predict(problem.controls)
        close(here.branch("null", problem.controls.null), recorded[f"{name}/eps_uncond_orig"], 5e-5)
        value = steering.leaves((phi,))
        optimizer = method.optimizer(value)
        for inner in range(int(recorded.scalars[f"{name}/n_inner"])):
            seen, gradient = method.estimator(
                lambda tensors, here=here, reference=reference: method.objective(problem, here, reference, tensors),
                value,
                problem,
                (step.index, inner),
            )
            scalars = {key.split("/")[-1]: value for key, value in recorded.scalars.items() if key.startswith(f"{name}/inner{inner}/")}
            assert seen.look.scores.item() == pytest.approx(scalars["reward"], abs=5e-5)
            objective = -scalars["loss"] if "loss" in scalars else scalars["J_base"]
            assert seen.total.item() == pytest.approx(objective, abs=5e-5 * max(1, abs(objective)))
            stored = recorded[f"{name}/inner{inner}/grad"]
            close(-gradient[0], stored, 5e-5 * max(1.0, stored.abs().max().item()) if "loss" in scalars else 2e-2)
            steering.ascend(optimizer, value, (-stored,))
            close(value[0], recorded[f"{name}/inner{inner}/phi"], 5e-5)
        phi = recorded[f"{name}/phi_end"]


def test_children_and_choice_from_the_recorded_state(run):
    recorded, method, problem = run
    for step in problem.steps:
        name = f"step{step.index:02d}"
        controls = method.variable.write(problem.controls, (recorded[f"{name}/phi_end"],))
        here = problem.at(tta.State(recorded[f"{name}/x_t"]), step)
        children = here.predict(controls).branch(problem.children(controls, step.index + 1, method.particles))
        close(children.x, recorded[f"{name}/candidates"], 1e-4)
        if step.index + 1 < len(problem.steps):
            x0 = problem.at(children, problem.steps[step.index + 1]).predict(controls).x0
            close(x0, recorded[f"{name}/cand_x0_hat"], 1e-4)
            scores = problem.look(x0).scores
        else:
            scores = problem.look(children.x).scores
        close(scores, recorded[f"{name}/cand_scores"], 5e-5)
        chosen = children[steering.best(scores, 1)]
        close(chosen.x, recorded[f"{name}/x_next"], 1e-4)


def test_the_free_run(run):
    recorded, method, problem = run
    *snapshots, last = method.align(problem)
    place = iter(snapshots)
    for step in problem.steps:
        for inner in range(method.inner(step.index, len(problem.steps))):
            snapshot, name = next(place), f"step{step.index:02d}/inner{inner}"
            assert snapshot.index == step.index
            assert snapshot.scores.item() == pytest.approx(recorded.scalars[f"{name}/reward"], abs=1e-4)
            if inner and not _is_rounding(recorded, step.index):
                close(snapshot.controls.null.tokens, recorded[f"step{step.index:02d}/inner{inner - 1}/phi"], 5e-3)
    close(last.x0, recorded[f"step{len(problem.steps) - 1:02d}/x_next"], 1e-4)
    close(last.images, recorded["final/image"], 1e-4)


def _is_rounding(recorded: Case, step: int) -> bool:
    """Whether J hardly depends on phi any more, so that the zeroth-order estimate consists of rounding errors of J, and Adam follows their
    signs."""
    estimate = recorded.tensors.get(f"step{step:02d}/inner0/g_hat")
    return estimate is not None and estimate.abs().max().item() < 0.1
