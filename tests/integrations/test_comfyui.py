"""The ComfyUI nodes, loaded and run as ComfyUI does: by file, by name, in inference mode, with its progress bar and *Cancel*."""

import json
import sys
import tomllib
import types
from pathlib import Path

import pytest
import torch
from workflow import called, inputs_of, loaded, run

import tta_core
from tta_core.errors import InputError, LoadError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import Entry
from tta_core.values.arguments import whole
from tta_plugins.methods.date import DATE

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "integrations" / "comfyui"
WIDGETS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
OURS = {"TTA_BACKBONE", "TTA_METHOD", "TTA_REWARD"}
LIGHT = ("clip", "hpsv2", "remote", "brightness", "jpeg")  # modules that the other tests import too, or that import nothing
STOCK = {"IMAGE", "STRING"}
ALIGN = {"prompt": "a red circle", "seed": 3, "steps": 3, "n": 2}


@pytest.fixture(scope="module")
def package():
    return loaded(FOLDER)


@pytest.fixture(scope="module")
def nodes(package):
    return package.NODE_CLASS_MAPPINGS


@pytest.fixture(scope="module")
def parts(nodes):
    """The embedded model, DATE and the embedded CLIP, made by their nodes."""
    (backbone,) = called(nodes["TTA load backbone"], name="shapes")
    (reward,) = called(nodes["TTA reward clip"], tta_backbone=backbone)
    (method,) = called(nodes["TTA method date"], rho=0.7)
    return {"backbone": backbone, "method": method, "reward": reward}


def test_every_node_has_the_published_interface(package, nodes):
    assert set(package.NODE_DISPLAY_NAME_MAPPINGS) == set(nodes)
    heavy = {name for name, node in nodes.items() if node.CATEGORY.endswith("/rewards")} - {f"TTA reward {name}" for name in LIGHT}
    for node in (node for name, node in nodes.items() if name not in heavy):
        inputs = node.INPUT_TYPES()
        assert set(inputs) <= {"required", "optional", "hidden"}
        names = [name for group in inputs.values() for name in group]
        assert len(set(names)) == len(names)
        for kind, *options in (one for group in inputs.values() for one in group.values()):
            if str(kind) in OURS:
                continue
            assert set(options[0]) <= {"default", "min", "max", "step", "round", "tooltip", "multiline", "control_after_generate"}
            default = options[0]["default"]
            assert default in kind if isinstance(kind, list) else isinstance(default, WIDGETS[kind])
            assert options[0].get("min", default) <= default <= options[0].get("max", default)
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        assert set(node.RETURN_TYPES) <= OURS | STOCK
        assert callable(getattr(node, node.FUNCTION))
        assert node.CATEGORY.split("/")[0] == "tta-align"
        assert node.DESCRIPTION
        json.dumps(inputs)  # as in the answer of /object_info


def test_every_seed_of_the_widget_can_be_used(nodes):
    seed = nodes["TTA align"].INPUT_TYPES()["required"]["seed"][1]
    assert (whole("seed", seed["min"]), whole("seed", seed["max"])) == (0, 2**63 - 1)


def test_every_registered_method_and_reward_has_a_node(nodes):
    for kind, word in (("methods", "method"), ("rewards", "reward")):
        assert {f"TTA {word} {entry.name}" for entry in plugins().registry.entries(kind)} <= set(nodes)


def test_every_method_can_be_built_with_its_defaults(nodes):
    for entry in plugins().registry.entries("methods"):
        node = nodes[f"TTA method {entry.name}"]
        defaults = {name: options["default"] for name, (_, options) in node.INPUT_TYPES()["optional"].items()}
        assert called(node, **defaults) == (entry.load()(),)


def test_settings_are_read_as_the_command_line_reads_them(nodes, parts):
    (made,) = called(nodes["TTA method date"], rho=2, updates="Every(3)", start="original", normalise=False, iterations=2)
    assert repr(made) == repr(DATE(rho=2.0, updates=made.updates, start="original", normalise=False, iterations=2))
    assert repr(made.updates) == "Every(n=3)"
    (null_tta,) = called(nodes["TTA method null-tta"], reward_weight="None", penalty_weight="None", kl_budget="0.5")
    assert (null_tta.reward_weight, null_tta.kl_budget) == (None, 0.5)
    with pytest.raises(InputError, match="rho"):
        called(nodes["TTA method date"], rho=-1.0)
    with pytest.raises(InputError, match="needs python, factory"):
        called(nodes["TTA reward remote"], tta_backbone=parts["backbone"], python="", factory="")


def test_the_example_workflow_gives_the_images_of_align(nodes):
    graph = json.loads((FOLDER / "example_workflows" / "first-images.json").read_text())
    by_id = {node["id"]: node for node in graph["nodes"]}
    for link, source, slot, target, place, kind in graph["links"]:
        output, taken = by_id[source]["outputs"][slot], by_id[target]["inputs"][place]
        assert link in output["links"]
        assert taken["link"] == link
        assert kind == nodes[by_id[source]["type"]].RETURN_TYPES[slot] == output["type"]
    prompt = inputs_of(graph, nodes)
    ((number, align),) = ((number, node) for number, node in prompt.items() if node["class_type"] == "TTA align")
    align["inputs"] |= {"steps": 2, "n": 1}
    aligned, baseline, record = run(prompt, nodes)[number]
    method = tta_core.evolve(tta_core.plugins.resolve.method("null-tta"), inner_min=2, inner_max=6, rate=0.035)
    expected = tta_core.align(align["inputs"]["prompt"], method=method, reward="clip", seed=22, steps=2)
    assert aligned.dtype == torch.float32
    assert aligned.shape == baseline.shape == (1, 64, 64, 3)
    assert torch.equal(aligned, expected.result.pixels.permute(0, 2, 3, 1))
    assert torch.equal(baseline, expected.baseline.pixels.permute(0, 2, 3, 1))
    assert not aligned.is_inference()
    assert json.loads(record)["scores"] == list(expected.scores)


class InterruptProcessingException(Exception):  # noqa: N818
    """Replaces ComfyUI's exception."""


class Bar:
    """Replaces `comfy.utils.ProgressBar`; it raises at the given update, as ComfyUI's hook does on *Cancel*."""

    made, cancel_at = (), None

    def __init__(self, total):
        self.total, self.moves = total, []
        Bar.made = (*Bar.made, self)

    def update_absolute(self, value, total=None, preview=None):
        self.moves.append((value, total, preview))
        if value == Bar.cancel_at:
            raise InterruptProcessingException


@pytest.fixture
def comfy(monkeypatch):
    """Modules with ComfyUI's names, which have what a node uses of them; *Cancel* sets `interrupt`."""
    management, utils = types.ModuleType("comfy.model_management"), types.ModuleType("comfy.utils")
    state = types.SimpleNamespace(interrupt=lambda: False, unloaded=0)

    def throw_exception_if_processing_interrupted():
        if state.interrupt():
            raise InterruptProcessingException

    def unload_all_models():
        state.unloaded += 1

    management.InterruptProcessingException = InterruptProcessingException
    management.throw_exception_if_processing_interrupted = throw_exception_if_processing_interrupted
    management.unload_all_models = unload_all_models
    utils.ProgressBar = Bar
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    monkeypatch.setitem(sys.modules, "comfy.utils", utils)
    monkeypatch.setattr(Bar, "made", ())
    monkeypatch.setattr(Bar, "cancel_at", None)
    return state


def test_inside_comfyui_it_shows_its_progress_and_its_look_ahead(nodes, parts, comfy):
    aligned, _, _ = called(nodes["TTA align"], **parts, **ALIGN)
    (bar,) = Bar.made
    assert bar.total == 3
    assert [value for value, _, preview in bar.moves if preview is None] == [1, 2, 3, 3]
    looks = [preview for _, _, preview in bar.moves if preview is not None]
    assert [(kind, look.size) for kind, look, _ in looks] == [("JPEG", (64, 64))] * 4
    Bar.made = ()
    plain, _, _ = called(nodes["TTA align"], **parts, **ALIGN, preview=False)
    assert all(preview is None for _, _, preview in Bar.made[0].moves)
    assert torch.equal(aligned, plain)


@pytest.mark.parametrize("calls", [1, 5])
def test_cancel_ends_the_run_at_the_next_evaluation(nodes, parts, comfy, calls):
    seen = []
    comfy.interrupt = lambda: seen.append(1) or len(seen) == calls
    with pytest.raises(InterruptProcessingException):
        called(nodes["TTA align"], **parts, **ALIGN)
    assert len(seen) == calls


def test_cancel_in_the_progress_bar_ends_the_run(nodes, parts, comfy):
    Bar.cancel_at = 2
    with pytest.raises(InterruptProcessingException):
        called(nodes["TTA align"], **parts, **ALIGN)
    assert [value for value, _, _ in Bar.made[0].moves] == [1, 1, 2]


def test_an_error_is_the_one_that_align_raises(nodes, parts, comfy):
    with pytest.raises(InputError, match="steps is -1"):
        called(nodes["TTA align"], **parts, **{**ALIGN, "steps": -1})
    with pytest.raises(InputError, match="n must be at least 1, but is 0"):
        called(nodes["TTA align"], **parts, **{**ALIGN, "n": 0})


@pytest.mark.parametrize("given", [{"name": "shapes", "source": "a/b"}, {"name": "diffusers"}, {"name": "shapes", "device": "cpu"}])
def test_a_setting_without_effect_is_refused(nodes, given):
    with pytest.raises(InputError):
        called(nodes["TTA load backbone"], **given)


def test_a_folder_is_loaded_after_comfyui_has_unloaded_its_models(nodes, comfy):
    from tta_plugins.shapes.load import pipeline_folder

    (backbone,) = called(nodes["TTA load backbone"], name="diffusers", source=str(pipeline_folder()), device="cpu", dtype="float32")
    assert comfy.unloaded == 1
    assert not next(backbone.networks["denoiser"].parameters()).is_inference()


@tta_core.frozen
class Stranger:
    """A third party's method."""

    strength: float = 0.25


def test_third_party_parts_have_nodes_and_broken_ones_give_the_reason(parts):
    plugins.cache_clear()
    plugins().registry.add(Entry("methods", "strange", Stranger, "a stranger's", (), "tta-strange 0.1"))
    plugins().registry.add(Entry("rewards", "broken", "no_such_module:Thing", "", (), "tta-broken 0.1"))
    try:
        nodes = loaded(FOLDER).NODE_CLASS_MAPPINGS
        kind, options = nodes["TTA method strange"].INPUT_TYPES()["optional"]["strength"]
        assert (kind, options["default"]) == ("FLOAT", 0.25)
        assert nodes["TTA reward broken"].INPUT_TYPES()["optional"] == {}
        with pytest.raises(LoadError, match=r"'broken' of tta-broken 0\.1"):
            called(nodes["TTA reward broken"], tta_backbone=parts["backbone"])
    finally:
        plugins.cache_clear()


def test_the_metadata_of_the_nodes_agrees_with_the_project():
    project, own = (tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in (ROOT, FOLDER))
    assert {name: project[name] for name in ("version", "license", "requires-python")} == {
        name: own[name] for name in ("version", "license", "requires-python")
    }
    assert own["dependencies"] == [(FOLDER / "requirements.txt").read_text().strip()]
    assert own["dependencies"][0].split(">=")[0] == project["name"]
