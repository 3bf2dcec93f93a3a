"""Faults of plugins while they are loaded: `tta doctor` names each one, and the other plugins work."""

import importlib.metadata
import signal
import sys
from types import SimpleNamespace

import pytest

from tta_core.errors import LoadError, TTAError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.entry import Entry


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Plugins, given by the source of their modules; returns the newly found ones, which always include `good`."""

    def install(**sources):
        sources["good"] = GOOD
        points = []
        for name, source in sources.items():
            (tmp_path / f"faulty_{name}.py").write_text(source)
            sys.modules.pop(f"faulty_{name}", None)
            point = importlib.metadata.EntryPoint(name, f"faulty_{name}" + (":plugin" if "plugin =" in source else ""), "tta")
            vars(point)["dist"] = SimpleNamespace(name=f"lab-{name}", version="1.0")
            points.append(point)
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
        plugins.cache_clear()
        return plugins()

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    plugins.cache_clear()


HEAD = "from tta_core import hookimpl\n@hookimpl\ndef tta_register_rewards(register):\n    "
GOOD = HEAD + "register('good', 'json:dumps', 'a good one')\n"
IMPORTS = {
    "exit": "import sys; sys.exit(4)",
    "interrupt": "raise KeyboardInterrupt",
    "interrupt in one line": "if True: raise KeyboardInterrupt()",
    "base": "class Own(BaseException): pass\nraise Own('mine')",
    "generator exit": "raise GeneratorExit",
    "syntax": "def (",
    "recursion": "def f(): f()\nf()",
    "none": "plugin = None",
    "hook exits": HEAD + "raise SystemExit(1)",
    "hook interrupts": HEAD + "raise KeyboardInterrupt",
    "hook with another argument": "from tta_core import hookimpl\n@hookimpl\ndef tta_register_rewards(registrar): pass",
    "no hook": "def tta_register_rewards(register): register('x', 'a:b')",
    "asynchronous hook": "from tta_core import hookimpl\n@hookimpl\nasync def tta_register_rewards(register): register('x', 'a:b')",
    "generator as a hook": HEAD + "yield register('x', 'a:b')",
    "one name twice": HEAD + "register('x', 'a:b'); register('x', 'a:c')",
    "unknown hook": "from tta_core import hookimpl\n@hookimpl\ndef tta_register_reward(register): pass",
}
NAMES = [5, None, b"x", ["x"], "", "Upper", "two words", "a/b", "a\x1b[31m"]
TARGETS = [5, None, b"a:b", ["a:b"], "a", "a:", ":b", "a b:c"]
REGISTERED = {
    **{f"name {value!r}": f"register({value!r}, 'a:b')" for value in NAMES},
    **{f"target {value!r}": f"register('x', {value!r})" for value in TARGETS},
    **{f"summary {value!r}": f"register('x', 'a:b', {value!r})" for value in (5, None, "two\nlines")},
    **{f"pipelines {value!r}": f"register('x', 'a:b', '', {value!r})" for value in ("FluxPipeline", 5, ["A"], (5,), ("A B",), ("Flux",))},
}


@pytest.mark.parametrize("fault", [*IMPORTS, *REGISTERED])
def test_a_broken_plugin_is_named_and_does_not_affect_others(installed, fault, count):
    count("tried")
    found = installed(broken=IMPORTS.get(fault) or HEAD + REGISTERED[fault])
    assert [entry.name for entry in found.registry.entries("rewards")] == ["good"]
    (broken,) = (one for one in found.found if one.name == "broken")
    assert broken.problem
    assert found.registry.broken == ["broken (lab-broken 1.0)"]
    count("survived")


@pytest.mark.parametrize(
    ("metadata", "points"),
    [("", "[tta]\nlab = lab\n"), ("Name: lab\nVersion: 1\n", "[tta]\nlab\n"), ("Name: lab\nVersion: 1\n", "[other]\nlab\n")],
)
def test_the_remains_of_an_interrupted_installation_affect_no_other_plugin(monkeypatch, tmp_path, metadata, points):
    (tmp_path / "lab-1.dist-info").mkdir()
    (tmp_path / "lab-1.dist-info" / "METADATA").write_text(metadata)
    (tmp_path / "lab-1.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    plugins.cache_clear()
    found = plugins()
    assert found.registry.find("rewards", "brightness")
    broken = [str(one) for one in found.found if one.problem]
    assert broken == (["lab (unknown )"] if not metadata else ["entry points (lab 1)"])
    plugins.cache_clear()


def test_a_real_ctrl_c_is_raised(installed):
    with pytest.raises(KeyboardInterrupt):
        installed(slow="import signal; signal.raise_signal(signal.SIGINT)")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_text_printed_by_a_plugin_does_not_reach_stdout(installed, capsys, count):
    count("tried")
    installed(loud="print('hello')\n" + HEAD + "print('again'); register('loud', 'a:b')")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "hello" in printed.err
    count("survived")


def test_two_backbones_of_one_pipeline_class_collide(installed, count):
    count("tried")
    register = (
        "from tta_core import hookimpl\n@hookimpl\ndef tta_register_backbones(register): register({!r}, 'a:b', '', ('FluxPipeline',))\n"
    )
    found = installed(one=register.format("flux"), other=register.format("mine"))
    assert len(found.registry.collisions) == 1
    with pytest.raises(LoadError, match=r"FluxPipeline: 'flux' of one .* and 'mine' of other .*TTA_PLUGINS_BLOCK"):
        found.registry.adapter("FluxPipeline")
    count("survived")


@pytest.mark.parametrize("source", ["import sys; sys.exit(4)", "raise KeyboardInterrupt", "raise RuntimeError('x')", "1 / 0"])
def test_a_target_that_raises_when_it_is_used(tmp_path, monkeypatch, source, count):
    count("tried")
    (tmp_path / "faulty_target.py").write_text(source)
    sys.modules.pop("faulty_target", None)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=r"'x' of lab 1\.0 could not be imported"):
        Entry("rewards", "x", "faulty_target:Thing", "", (), "lab 1.0").load()
    count("survived")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, RuntimeError, TypeError])
def test_a_class_that_cannot_be_built(error, count):
    from tta_core.plugins.registry import Registry

    class Bad:
        def __init__(self):
            raise error("no")

    count("tried")
    made = Registry()
    made.add(Entry("methods", "bad", Bad, "", (), "lab 1.0"))
    with pytest.raises(TTAError, match=r"'bad' of lab 1\.0 could not be made"):
        made.create("methods", "bad")
    count("survived")
