"""The nodes in ComfyUI itself, without its page: with `--comfyui "PYTHON PATH/main.py"`, where that Python has tta-align installed."""

import io
import json
import shlex
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from PIL import Image
from workflow import inputs_of, loaded

import tta_core
from tta_core.plugins.discovery import plugins

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"
PATIENCE = 600  # seconds

pytestmark = pytest.mark.comfyui


class Served:
    """A running ComfyUI, and the requests that its own page makes."""

    def __init__(self, process, address, log):
        self.process, self.address, self.log = process, address, log

    def ask(self, path, **given):
        """The answer to a request; arguments are sent by POST."""
        body = json.dumps(given).encode() if given else None
        with urllib.request.urlopen(urllib.request.Request(self.address + path, body), timeout=PATIENCE) as answer:
            return answer.read()

    def wait_for(self, found):
        """The first answer that is not None."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                answer = found()
            except urllib.error.URLError:
                answer = None
            if answer is not None:
                return answer
            time.sleep(0.2)
        raise AssertionError(self.log.read_text()[-4000:])

    def outcome(self, number):
        """The entry of a prompt in the history, once it has ended."""
        return self.wait_for(lambda: json.loads(self.ask(f"/history/{number}")).get(number))


@pytest.fixture(scope="module")
def comfyui(request, tmp_path_factory):
    """A ComfyUI with our folder in its `custom_nodes`; it is stopped at the end."""
    base = tmp_path_factory.mktemp("comfyui")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "tta-align").symlink_to(FOLDER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ("--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base), "--disable-api-nodes")
    command = [*shlex.split(request.config.getoption("--comfyui")), *where]
    with (base / "log.txt").open("w") as log, subprocess.Popen(command, cwd=base, stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            served = Served(process, f"http://127.0.0.1:{port}", base / "log.txt")
            served.wait_for(lambda: served.ask("/system_stats"))
            yield served
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def prompt():
    """The example workflow as ComfyUI's page sends it, with fewer steps."""
    graph = json.loads((FOLDER / "example_workflows" / "first-images.json").read_text())
    sent = inputs_of(graph, loaded(FOLDER).NODE_CLASS_MAPPINGS)
    sent["4"]["inputs"] |= {"steps": 3, "n": 1}
    return sent


def test_it_lists_every_node(comfyui):
    listed = json.loads(comfyui.ask("/object_info"))
    for kind, word in (("methods", "method"), ("rewards", "reward")):
        assert {f"TTA {word} {entry.name}" for entry in plugins().registry.entries(kind)} <= set(listed)
    assert listed["TTA align"]["output"] == ["IMAGE", "IMAGE", "STRING"]


def test_the_example_gives_the_images_of_align(comfyui, prompt):
    number = json.loads(comfyui.ask("/prompt", prompt=prompt))["prompt_id"]
    outcome = comfyui.outcome(number)
    assert outcome["status"]["status_str"] == "success", outcome["status"]["messages"]
    method = tta_core.evolve(tta_core.plugins.resolve.method("null-tta"), inner_min=2, inner_max=6, rate=0.035)
    expected = tta_core.align(prompt["4"]["inputs"]["prompt"], method=method, reward="clip", seed=22, steps=3)
    (record,) = outcome["outputs"]["7"]["text"]
    assert json.loads(record)["scores"] == pytest.approx(list(expected.scores), abs=1e-3)
    for node, pixels in (("5", expected.result.pixels), ("6", expected.baseline.pixels)):
        (image,) = outcome["outputs"][node]["images"]
        saved = Image.open(io.BytesIO(comfyui.ask("/view?filename={filename}&subfolder={subfolder}&type={type}".format(**image))))
        drawn = torch.tensor(list(saved.convert("RGB").get_flattened_data())).reshape(64, 64, 3).permute(2, 0, 1) / 255
        assert (drawn - pixels[0]).abs().max() < 0.02


def test_cancel_ends_a_run(comfyui, prompt):
    long = {name: {**node, "inputs": dict(node["inputs"])} for name, node in prompt.items()}
    long["4"]["inputs"] |= {"steps": 900, "seed": 1}
    number = json.loads(comfyui.ask("/prompt", prompt=long))["prompt_id"]

    def ended():
        comfyui.ask("/interrupt", prompt_id=number)  # it has no effect before the run has begun
        return json.loads(comfyui.ask(f"/history/{number}")).get(number)

    messages = dict(comfyui.wait_for(ended)["status"]["messages"])
    assert messages["execution_interrupted"]["node_type"] == "TTA align"


def test_a_refused_setting_is_an_error_of_its_node(comfyui, prompt):
    wrong = {name: {**node, "inputs": dict(node["inputs"])} for name, node in prompt.items()}
    wrong["2"]["inputs"]["rate"] = -1.0
    number = json.loads(comfyui.ask("/prompt", prompt=wrong))["prompt_id"]
    told = dict(comfyui.outcome(number)["status"]["messages"])["execution_error"]
    assert told["node_type"] == "TTA method null-tta"
    assert "rate is -1.0" in told["exception_message"]
