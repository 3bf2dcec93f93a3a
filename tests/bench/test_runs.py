"""A comparison that is interrupted, runs in other processes or fails in part has the same table as an undisturbed one, or the expected part
of it."""

import gc
import json
import os
import random
import signal
import sys

import pytest
import torch
from small_plans import planned

from tta_core.errors import InputError
from tta_core.plugins.discovery import plugins
from tta_core.values import provenance
from tta_plugins.bench.engines import local
from tta_plugins.bench.engines.here import Here
from tta_plugins.bench.engines.local import Local
from tta_plugins.bench.finish import finish
from tta_plugins.bench.plan import read_plan, resolve_plan, settle
from tta_plugins.bench.run import missing_units, sample
from tta_plugins.bench.status import status_of
from tta_plugins.bench.store import Store


def table(folder):
    return (folder / "results.csv").read_bytes()


SITE = """
import os
import signal
from pathlib import Path

from tta_core import hookimpl
from tta_core.testing import GaussianMixture, vp_scheduler


def table(native, steps, eta, shape):
    return vp_scheduler(steps, eta or 0.0)


def mortal(images, prompts):
    \"\"\"The brightness. In the folder that DOOMED names, the first process that has kept a cell dies of the next look.\"\"\"
    folder = Path(os.environ.get("DOOMED", os.devnull))
    if list(folder.glob("arms/*/cells.*.jsonl")) and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return images.mean((1, 2, 3))


@hookimpl
def tta_register_backbones(register):
    register("mixture", GaussianMixture)


@hookimpl
def tta_register_schedulers(register):
    register("table", table)


@hookimpl
def tta_register_rewards(register):
    register("mortal", mortal)
"""


@pytest.fixture(scope="module", autouse=True)
def _site(tmp_path_factory):
    """A plugin that other processes can load too: a backbone without networks, which is loaded quickly, and a reward."""
    site = tmp_path_factory.mktemp("site")
    facts = site / "tta_light-1.0.dist-info"
    facts.mkdir()
    (site / "tta_light.py").write_text(SITE)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tta-light\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[tta]\nlight = tta_light\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH", "")))))
        patch.setattr(
            "tta_plugins.bench.finish.write_report", lambda *given: None
        )  # only the tables are tested here; the report has its own tests
        for cached in (plugins, provenance._distributions):
            cached.cache_clear()
        yield
    for cached in (plugins, provenance._distributions):
        cached.cache_clear()
    sys.modules.pop("tta_light", None)


def light(**changes):
    return planned(
        **{"backbone": "mixture", "scheduler": "table", "target": "mortal", "held_out": ["contrast"], "primary": "sharpness", **changes}
    )


@pytest.fixture
def plan():
    return light()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The small comparison, sampled in this process without a fault: its plan and its folder."""
    plan, folder = light(), tmp_path_factory.mktemp("light") / "run"
    sample(plan, folder, Here())
    finish(plan, folder)
    return plan, folder


class Killed(BaseException):
    """Raised in place of kill -9: nothing after it runs."""


def test_a_run_killed_three_times_ends_with_the_same_table(plan, finished, tmp_path, monkeypatch):
    keep, generator = Store.keep, random.Random(1)
    left = [0]

    def mortal(self, arm, cell, record, image, strip=None):
        left[0] -= 1
        if left[0] < 0:
            if image is not None and generator.random() < 0.5:  # after the image and before its line
                path = self.image(arm, cell)
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
            raise Killed
        keep(self, arm, cell, record, image, strip)

    monkeypatch.setattr(Store, "keep", mortal)
    deaths = 0
    for _ in range(3):
        left[0] = generator.randrange(1, 7)
        try:
            sample(plan, tmp_path / "run", Here())
        except Killed:
            deaths += 1
    assert deaths == 3
    torn = next((tmp_path / "run").glob("arms/*/cells.*.jsonl"))
    torn.write_bytes(torn.read_bytes() + b'{"prompt": 3, "se')
    monkeypatch.setattr(Store, "keep", keep)
    assert sample(plan, tmp_path / "run", Here()).done == 20
    finish(plan, tmp_path / "run")
    assert table(tmp_path / "run") == table(finished[1])


def test_supervised_processes_give_the_same_table_even_if_one_is_killed(plan, finished, tmp_path, monkeypatch):
    folder, engine = tmp_path / "run", Local(workers=1)
    monkeypatch.setenv("DOOMED", str(folder))
    state = sample(plan, folder, engine)
    assert (state.done, state.failed) == (20, 0)
    assert [process.returncode for process in engine.running] == [-signal.SIGKILL, 0]
    finish(plan, folder)
    assert table(folder) == table(finished[1])


def test_a_worker_that_starts_while_the_run_is_stopped_is_killed(plan, tmp_path, monkeypatch):
    engine, started = Local(workers=1), local._started

    def stopped_meanwhile(*given):
        process = started(*given)
        engine._stop.set()
        return process

    monkeypatch.setattr(local, "_started", stopped_meanwhile)
    assert sample(plan, tmp_path / "run", engine).done == 0
    assert [process.returncode for process in engine.running] == [-signal.SIGKILL]


def test_nothing_is_sampled_twice(finished):
    plan, folder = finished
    assert missing_units(plan, Store(folder)) == []


def test_cells_with_a_failed_reward_are_counted_and_bound_the_gain(tmp_path, monkeypatch):
    plan = light(fail_on=1.0)
    bad = plan.prompts[1]

    class Picky:
        def __call__(self, images, prompts):
            if bad in prompts:
                raise ValueError("I will not score this")
            return images.mean((1, 2, 3))

    monkeypatch.setattr("tta_plugins.bench.parts.Parts.reward", lambda self, name: Picky() if name == "mortal" else _reward(self, name))
    state = sample(plan, tmp_path / "run", Here())
    failed = [
        cell for cells in Store(tmp_path / "run").all_cells(plan).values() for cell, one in cells.items() if one["status"] == "failed"
    ]
    assert state.failed == len(failed) == 5  # fixed, random direction, DATE, two samples of the pool
    assert {cell.prompt for cell in failed} == {1}
    assert "I will not score this" in next(iter(status_of(plan, tmp_path / "run").arms[0].errors))
    summary = finish(plan, tmp_path / "run")
    date = next(arm for arm in summary["arms"] if arm["name"] == "DATE")
    assert date["cells"] == {"planned": 4, "done": 3, "failed": 1}
    assert date["scores"]["contrast"]["worst"] < date["scores"]["contrast"]["gain"]["mean"]


def _reward(parts, name):
    from tta_core.plugins import resolve

    return resolve.reward(name, parts.backbone(parts.plan.arms[0]))


def test_a_run_that_fails_too_often_stops_and_failed_cells_can_be_tried_again(tmp_path, monkeypatch):
    plan = light(fail_on=0.1)
    broken = [True]

    class Flaky:
        def __call__(self, images, prompts):
            if broken[0]:
                raise ValueError("not today")
            return images.mean((1, 2, 3))

    monkeypatch.setattr("tta_plugins.bench.parts.Parts.reward", lambda self, name: Flaky())
    state = sample(plan, tmp_path / "run", Here())
    assert "failed" in state.stopped
    assert state.failed < state.planned
    broken[0] = False
    assert sample(plan, tmp_path / "run", Here()).failed == state.failed
    assert sample(plan, tmp_path / "run", Here(), retry_failed=True).failed == 0


def test_out_of_memory_is_tried_in_halves(plan, tmp_path, monkeypatch):
    from tta_plugins.methods.baselines import Fixed

    align = Fixed.align

    def hungry(self, problem):
        if len(problem.prompts) > 1:
            raise torch.OutOfMemoryError("full")
        yield from align(self, problem)

    monkeypatch.setattr(Fixed, "align", hungry)
    sample(plan, tmp_path / "run", Here(), only=["fixed"])
    kept = Store(tmp_path / "run").cells(plan.arm("fixed"))
    assert [(one["status"], one["batch"], one["retries"]) for one in kept.values()] == [("done", 1, 1)] * 4


def test_only_some_arms(plan, tmp_path):
    sample(plan, tmp_path / "run", Here(), only=["random-direction"])
    done = {arm.name for arm in status_of(plan, tmp_path / "run").arms if arm.done}
    assert done == {"fixed", "random-direction"}


def test_a_spent_time_budget_stops_between_batches(plan, tmp_path):
    state = sample(plan, tmp_path / "run", Here(), budget_hours=0.0)
    assert "hours" in state.stopped
    assert 0 < state.done < state.planned


def test_another_plan_is_refused(finished):
    with pytest.raises(InputError, match="another plan"):
        settle(light(pool=3), finished[1])


def test_a_folder_of_something_else_is_refused(plan, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not a comparison"):
        settle(plan, tmp_path)


def test_an_edited_plan_is_refused(finished, tmp_path):
    from tta_core.errors import LoadError

    written = json.loads((finished[1] / "plan.json").read_text())
    written["spec"]["pool"] = 99
    (tmp_path / "plan.json").write_text(json.dumps(written))
    with pytest.raises(LoadError, match="edited"):
        read_plan(tmp_path)


def test_cells_of_other_versions_are_not_mixed(plan, finished, tmp_path):
    store = Store(tmp_path)
    arm = plan.arm("fixed")
    store.identify(arm, {"key": "a", "versions": {"torch": "1"}, "prices": {}})
    with pytest.raises(InputError, match="versions"):
        store.identify(arm, {"key": "b", "versions": {"torch": "2"}, "prices": {}})


def test_the_same_toml_gives_the_same_plan(tmp_path):
    file = tmp_path / "bench.toml"
    file.write_text('steps = 2\n[prompts]\nfile = "shapes-hard"\nlimit = 3\n[[arms]]\nname = "A"\nmethod = "date"\n')
    assert resolve_plan(file).digest == resolve_plan(file).digest
    before = resolve_plan(file).digest
    file.write_text(file.read_text().replace("limit = 3", "limit = 4"))
    assert resolve_plan(file).digest != before


def test_prompts_of_one_seed_start_from_different_noises(plan):
    seeds = {plan.noise_seed(cell) for cell in plan.cells(plan.arm("fixed"))}
    assert len(seeds) == 4


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # submitit's local executor does not wait for it
def test_jobs_of_submitit_give_the_same_table(plan, finished, tmp_path):
    pytest.importorskip("submitit")
    from tta_plugins.bench.engines.slurm import Slurm

    state = sample(plan, tmp_path / "run", Slurm(jobs=1, cluster="local"))
    gc.collect()
    assert (state.done, state.failed) == (20, 0)
    finish(plan, tmp_path / "run")
    assert table(tmp_path / "run") == table(finished[1])


@pytest.mark.slow
def test_actors_of_ray_give_the_same_table(plan, finished, tmp_path):
    pytest.importorskip("ray")
    from tta_core.errors import LoadError
    from tta_plugins.bench.engines.ray import Ray

    with pytest.raises(LoadError, match="--workers"):
        sample(plan, tmp_path / "run", Ray(actors=10_000))
    state = sample(plan, tmp_path / "run", Ray(actors=1))
    assert (state.done, state.failed) == (20, 0)
    finish(plan, tmp_path / "run")
    assert table(tmp_path / "run") == table(finished[1])
