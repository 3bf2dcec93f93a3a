"""`tta align`, with the backbone and the plugins of third parties."""

import inspect
import json
import re
import signal
from pathlib import Path

import pytest
from PIL import Image

import tta_core
from tta_core.plugins.discovery import plugins
from tta_plugins.cli import align as command

TINY_SD = Path(__file__).parents[1] / "methods" / "fixtures" / "tiny-sd"
QUICK = ("--backbone", "colours", "--reward", "edges", "--steps", 3)


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_a_run_saves_its_images_and_its_record(tta, tmp_path):
    out = tmp_path / "out"
    result = tta("align", "a red circle", *QUICK, "--method", "greedy", "--seed", 4, "--out", out)
    assert result.exit_code == 0, result.output
    record = json.loads((out / "run.json").read_text())
    assert record["prompts"] == ["a red circle"]
    assert record["manifest"]["seed"] == 4
    assert record["manifest"]["steps"] == 3
    assert record["manifest"]["method"].startswith("Greedy(size=0.05")
    assert {path.name: size_of(path) for path in out.glob("*.png")} == {
        "aligned.png": (16, 16),
        "baseline.png": (16, 16),
        "grid.png": (512, 256),
    }
    assert f"in {out}" in result.stdout
    page = (out / "report.html").read_text()
    assert page.count('alt="clean estimates from first to last"') == 1


def test_the_table_has_the_numbers_of_the_record(tta, tmp_path):
    result = tta("align", "one", "two", *QUICK, "--method", "greedy", "--out", tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    before, after = record["baseline_scores"], record["scores"]
    for prompt, low, high in zip(["one", "two"], before, after, strict=True):
        assert re.search(rf"{prompt} +score +{low:.4f} +{high:.4f} +{re.escape(f'{high - low:+.4f}')}", result.stdout)
    assert re.search(rf"mean +score +{sum(before) / 2:.4f} +{sum(after) / 2:.4f}", result.stdout)


def test_progress_is_plain_lines_without_a_terminal(tta, tmp_path):
    result = tta("align", "one", *QUICK, "--method", "greedy", "--out", tmp_path)
    assert "\x1b" not in result.stdout + result.stderr
    assert "step 3/3  reward 0." in result.stderr
    assert "step" not in result.stdout


def test_progress_is_a_bar_on_a_terminal(tta, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    result = tta("align", "one", *QUICK, "--method", "greedy", "--out", tmp_path)
    assert "\x1b[" in result.stderr
    assert "3/3" in re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", result.stderr)
    assert "step 3/3" not in result.stderr


def test_prompts_come_from_a_file_too(tta, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("two\n\n three \n")
    result = tta("align", "one", "--prompts", file, *QUICK, "--method", "fixed", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run.json").read_text())["prompts"] == ["one", "two", "three"]


def test_settings_reach_the_parts(tta, tmp_path):
    settings = ("--set", "method.size=0.25", "--set", "method.variable=TextEmbedding()", "--set", "backbone.spread=0.5")
    result = tta("align", "one", *QUICK, "--method", "greedy", *settings, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "run.json").read_text())["manifest"]
    assert manifest["method"] == "Greedy(size=0.25, variable=TextEmbedding(pooled=False))"
    assert "spread=0.5" in manifest["backbone"]


def test_a_policy_is_set_by_its_name(tta, tmp_path):
    arguments = (
        "--memory",
        "chunked",
        "--memory",
        "update-fraction",
        "--set",
        "chunked.denoiser=1",
        "--set",
        "update-fraction.share=0.5",
        "--out",
        tmp_path,
    )
    result = tta("align", "one", "two", *QUICK, "--method", "date", *arguments)
    assert result.exit_code == 0, result.output
    policies = json.loads((tmp_path / "run.json").read_text())["manifest"]["memory"]
    assert policies[0].startswith("Chunked(denoiser=1,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There is no prompt"),
        (["p", "--method", "datee"], "Did you mean 'date'"),
        (["p", "--set", "method.roh=1"], "No setting of date (from methods (tta-align"),
        (["p", "--set", "method.rho=high"], "rho of date"),
        (["p", "--set", "metod.rho=1"], "Did you mean 'method'?"),
        (["p", "--set", "rho=1"], "must be PLACE.FIELD=VALUE"),
        (["p", "--set", "reward.radius=1", "--reward", "edges"], "has no settings"),
        (["p", "--prompts", "nowhere.txt"], "could not be read"),
        (["p", "--steps", "0"], "at least 1 step"),
        (["p", "--method", "date", "--reward", "jpeg"], "Cannot use"),
    ],
)
def test_a_refusal_is_one_message_and_exit_code_1(tta, tmp_path, arguments, message):
    backbone = ["--backbone", "colours", "--out", tmp_path / "out"]
    rest = [] if "--reward" in arguments else ["--reward", "edges"]
    method = [] if "--method" in arguments else ["--method", "date"]
    result = tta("align", *arguments, *backbone, *rest, *method)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.startswith("tta: ")
    assert "Traceback" not in result.output
    assert not (tmp_path / "out" / "run.json").exists()


def test_an_unknown_option_is_a_usage_error(tta):
    assert tta("align", "one", "--metod", "date").exit_code == 2


def test_an_unwritable_folder_is_refused_before_the_run(tta, tmp_path):
    (tmp_path / "file").touch()
    result = tta("align", "one", *QUICK, "--method", "greedy", "--out", tmp_path / "file" / "out")
    assert result.exit_code == 1
    assert "Cannot write to" in result.stderr
    assert "step" not in result.stderr


def test_a_spent_budget_keeps_the_best_so_far(tta, tmp_path):
    result = tta("align", "one", *QUICK, "--method", "greedy", "--budget-seconds", "1e-9", "--out", tmp_path)
    assert result.exit_code == 0
    assert "budget of 1e-09 s spent; the best so far was saved" in result.stderr
    assert len(json.loads((tmp_path / "run.json").read_text())["trace"]) == 1


@pytest.mark.parametrize(("budget", "said"), [("evaluations", "budget of 1 evaluations spent"), ("flops", "budget of 1 FLOPs spent")])
def test_other_budgets_end_a_run_too(tta, tmp_path, budget, said):
    arguments = ("--reward", "brightness", "--method", "date", "--steps", 3, "--out", tmp_path)
    result = tta("align", "one", *arguments, f"--budget-{budget}", 1)
    assert result.exit_code == 0, result.output
    assert said in result.stderr
    assert len(json.loads((tmp_path / "run.json").read_text())["trace"]) == 1


HALTING = """
import signal
from tta_core import hookimpl

class Halting:
    \"\"\"Simulates Ctrl-C at its seventh call: two calls try it, one is for the baseline, and the others are in the run.\"\"\"
    def __init__(self):
        self.asked = 0
    def __call__(self, images, prompts):
        self.asked += 1
        if self.asked == AT:
            signal.raise_signal(signal.SIGINT)
        return images.mean((1, 2, 3))

@hookimpl
def tta_register_rewards(register):
    register("halting", Halting)
"""


@pytest.fixture
def heeds_ctrl_c():
    """Restores the default handler of SIGINT: a test that a shell starts in the background inherits an ignored Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_ctrl_c_keeps_the_best_so_far(tta, site, tmp_path, heeds_ctrl_c):
    site.add("tta-halting", "tta_halting", HALTING.replace("AT", "7"))
    plugins.cache_clear()
    arguments = ("--backbone", "colours", "--reward", "halting", "--steps", 10, "--method", "greedy", "--out", tmp_path / "out")
    result = tta("align", "one", *arguments)
    assert result.exit_code == 130, result.output
    assert re.search(r"tta: interrupted at [1-5] of 10; the best so far was saved", result.stderr)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["stopped"].startswith("interrupted")
    assert 0 < len(record["trace"]) < 6
    assert f"in {tmp_path / 'out'}" in result.stdout
    assert (tmp_path / "out" / "aligned.png").exists()


def test_ctrl_c_before_the_first_step_saves_nothing(tta, site, tmp_path, heeds_ctrl_c):
    site.add("tta-halting", "tta_halting", HALTING.replace("AT", "1"))
    plugins.cache_clear()
    result = tta("align", "one", "--backbone", "colours", "--reward", "halting", "--method", "greedy", "--out", tmp_path / "out")
    assert result.exit_code == 130, result.output
    assert "interrupted before there was anything to save" in result.stderr
    assert not list(tmp_path.glob("out/*.png"))


FAILING = """
from tta_core import hookimpl

class Failing:
    \"\"\"Fails after the first snapshot.\"\"\"
    def __init__(self):
        Failing.snapshots = False
    def __call__(self, images, prompts):
        if self.snapshots:
            raise OSError("the server of scores is down")
        return images.mean((1, 2, 3))

@hookimpl
def tta_snapshot(snapshot):
    Failing.snapshots = True

@hookimpl
def tta_register_rewards(register):
    register("failing", Failing)
"""


def test_a_run_that_fails_keeps_the_best_so_far(tta, site, tmp_path):
    site.add("tta-failing", "tta_failing", FAILING)
    plugins.cache_clear()
    arguments = ("--backbone", "colours", "--reward", "failing", "--method", "greedy", "--steps", 4, "--out", tmp_path / "out")
    result = tta("align", "one", *arguments)
    assert result.exit_code == 1
    assert "the server of scores is down" in result.stderr
    assert "tta-failing" in result.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["stopped"].startswith("failed at 1 of")
    assert len(record["trace"]) == 1
    assert size_of(tmp_path / "out" / "aligned.png") == (16, 16)
    assert f"in {tmp_path / 'out'}" in result.stdout


def test_a_run_starts_from_an_image(tta, tmp_path):
    Image.new("RGB", (64, 64), (255, 0, 0)).save(tmp_path / "red.png")
    arguments = ("--steps", 5, "--reward", "brightness", "--method", "fixed", "--image", tmp_path / "red.png")
    for strength in (0.4, 1.0):
        result = tta("align", "one", *arguments, "--strength", strength, "--out", tmp_path / str(strength))
        assert result.exit_code == 0, result.output
    near, far = (json.loads((tmp_path / name / "run.json").read_text())["scores"] for name in ("0.4", "1.0"))
    assert near != far


def test_images_of_two_sizes_are_refused(tta, tmp_path):
    for size in (8, 16):
        Image.new("RGB", (size, size)).save(tmp_path / f"{size}.png")
    result = tta("align", "one", "two", *QUICK, "--image", tmp_path / "8.png", "--image", tmp_path / "16.png", "--out", tmp_path)
    assert result.exit_code == 1
    assert "different sizes: 8 x 8, 16 x 16" in result.stderr


def test_a_folder_is_sampled_with_the_requested_dtype(tta, tmp_path):
    arguments = ("--backbone", TINY_SD, "--device", "cpu", "--dtype", "bfloat16", "--height", 32, "--width", 32)
    result = tta("align", "one", *arguments, "--reward", "edges", "--method", "date", "--steps", 2, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "run.json").read_text())["manifest"]
    assert (manifest["device"], manifest["dtypes"]["denoiser"]) == ("cpu", "torch.bfloat16")


def test_a_name_takes_neither_device_nor_dtype(tta, tmp_path):
    refused = tta("align", "one", *QUICK, "--dtype", "bfloat16", "--out", tmp_path)
    assert refused.exit_code == 1
    assert "The backbone colours sets its own device and dtype" in refused.stderr


def test_the_command_has_the_arguments_of_align():
    """The command has the same defaults, and every argument of `align` except those that can only be objects."""
    front = inspect.signature(tta_core.align).parameters
    typed = inspect.signature(command.align).parameters
    objects = {"latents", "noises", "text", "null", "budget", "observers"}
    assert set(front) - set(typed) == objects
    for name in ("method", "reward", "backbone", "scheduler", "steps", "guidance", "eta", "negative", "height", "width", "strength"):
        assert typed[name].default == front[name].default, name


FUSSY = """
from tta_core import hookimpl

def fussy(images, prompts):
    if "bad" in prompts and fussy.calls > 2:
        raise ValueError("no face was found")
    fussy.calls += 1
    return images.mean((1, 2, 3))

fussy.calls = 0

@hookimpl
def tta_register_rewards(register):
    register("fussy", fussy)
"""


def test_one_failing_prompt_does_not_lose_the_others(tta, site, tmp_path):
    site.add("tta-fussy", "tta_fussy", FUSSY)
    arguments = ("--backbone", "colours", "--reward", "fussy", "--steps", 3, "--method", "greedy", "--out", tmp_path / "out")
    result = tta("align", "one", "bad", "three", *arguments)
    assert result.exit_code == 1
    assert "no face was found" in result.stderr
    assert "2 of 3 prompts were finished" in result.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {"one", "three"} <= set(record["prompts"])
    assert len(list((tmp_path / "out").glob("aligned-*.png"))) == len(record["prompts"])
