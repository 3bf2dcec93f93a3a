"""Random arguments for every command give a result or one message, never a traceback or an incomplete folder."""

import json
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import KINDS
from tta_plugins.cli.app import app

FILES = {"aligned.png", "baseline.png", "grid.png", "run.json"}
ODD = [
    "",
    " ",
    "-1",
    "0",
    "1",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1" + "0" * 400,
    "none",
    "true",
    "x",
    "\u202e\x1b[31m",
    "\U0001f600",
    "0.5",
    "1e-320",
    "%s",
    "a.b=c",
]
NAMES = sorted({entry.name for kind in KINDS for entry in plugins().registry.entries(kind)} - {"clip", "pickscore"})
odd = st.sampled_from(ODD)
number = st.one_of(odd, st.integers(-3, 9).map(str), st.floats(-2, 2).map(repr))
value = st.sampled_from(
    [
        "Every(2)",
        "Every(0)",
        "Every()",
        "Window(2, 1)",
        "Every(2) * Window(0, 0.5)",
        "NullEmbedding() & NullEmbedding()",
        "Exact()",
        "(((",
        "[1, 2]",
    ]
)
place = st.sampled_from(
    ["method.rho", "method.updates", "method.variable", "method.start", "method.iterations", "reward.x", "memory.x", "backbone.x", "."]
)
setting = st.builds("{}={}".format, place, st.one_of(odd, value))
ALIGN = {
    "--method": st.sampled_from(["fixed", "date", "dno", "null-tta", "best-of-n", "dat", ""]),
    "--reward": st.sampled_from(["brightness", "jpeg", "brightnes", ""]),
    "--memory": st.sampled_from(["chunked", "bf16", "checkpointing", "16GB", "3XB", "auto", "nothing", ""]),
    "--scheduler": st.sampled_from(["native", "ddim", "dpm", ""]),
    "--steps": number,
    "--guidance": number,
    "--eta": number,
    "--seed": number,
    "--strength": number,
    "--negative": odd,
    "--budget-seconds": number,
    "--budget-evaluations": number,
    "--budget-flops": number,
    "--height": st.sampled_from(["0", "-8", "7", "64", "x", "1" + "0" * 30]),
    "--image": st.sampled_from(["/dev/null", "nowhere.png", "."]),
    "--device": st.sampled_from(["cpu", "nowhere"]),
    "--prompts": st.sampled_from(["/dev/null", "nowhere.txt", "."]),
    "--set": setting,
}
OTHERS = [
    st.tuples(st.just("show"), st.sampled_from(NAMES) | odd),
    st.tuples(st.just("list"), st.sampled_from(KINDS) | odd),
    st.tuples(st.just("cite"), st.sampled_from(NAMES) | odd),
    st.tuples(
        st.just("new"),
        st.sampled_from(["reward", "method", "sampler", "policy", "x"]),
        odd,
        st.just("--out"),
        st.just("/dev/full"),
    ),
    st.tuples(st.just("score"), st.just("/dev/null"), st.just("--reward"), st.sampled_from(["brightness", "x"]), st.just("--prompt"), odd),
    st.tuples(st.just("plan"), st.just("--backbone"), odd),
    st.tuples(odd, odd),
]


@st.composite
def options(draw):
    """Some of the options of `tta align`, each with a value that may be wrong."""
    chosen = draw(st.lists(st.sampled_from(sorted(ALIGN)), max_size=4, unique=True))
    prompts = draw(st.lists(st.sampled_from(["a red circle", "", "\x1b[2J", "\U0001f600", "two\nlines"]), min_size=1, max_size=2))
    given = {"--method": "fixed", "--reward": "brightness", "--steps": "2", **{name: draw(ALIGN[name]) for name in chosen}}
    return ["align", *prompts, *(f"{name}={text}" for name, text in given.items())]


def tried(few, many):
    """The number of examples with the profile "fast" and with "thorough"."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    examples = many if settings.default.max_examples > few else few
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks)


def run(arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CliRunner().invoke(app, arguments, prog_name="tta")


def check(result):
    """Checks that a failed command prints one message, and that its only exception is the one with the exit code."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code in (0, 1, 2), result.output
    assert "Traceback" not in result.output
    if result.exit_code:
        assert "tta: " in result.stderr or "Error: " in result.stderr or "Usage: " in result.stderr
    assert not set(result.output) & set("\x1b\u202e")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The embedded model, loaded once for all runs."""
    from tta_core.plugins import resolve

    drawing = resolve.backbone("shapes")
    with pytest.MonkeyPatch.context() as patched:
        backbone = resolve.backbone
        patched.setattr(resolve, "backbone", lambda source: drawing if source == "shapes" else backbone(source))
        patched.chdir(tmp_path_factory.mktemp("arguments"))
        yield


@tried(12, 400)
@given(arguments=options())
def test_align_with_any_arguments(embedded, tmp_path_factory, count, arguments):
    count("tried")
    folder = tmp_path_factory.mktemp("run") / "out"
    result = run([*arguments[:1], f"--out={folder}", *arguments[1:]])
    check(result)
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if result.exit_code == 0:
        assert names >= FILES or "run.json" in names
        json.loads((folder / "run.json").read_text())
    else:
        assert names == set()
    count("survived")


@tried(12, 100)
@given(arguments=st.one_of(OTHERS))
def test_other_commands_with_any_arguments(embedded, count, arguments):
    count("tried")
    check(run(list(arguments)))
    count("survived")
