"""Each entrance runs the embedded model by its own lines of *Choose your entrance*, in an empty environment without a network."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import attrs
import pytest
from entrances import ROOT, entrances

from tta_plugins.cli.new import KINDS

HERE = Path(__file__).parent
ENTRANCES = entrances()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
UNSHARE = ("unshare", "-rn", sys.executable, str(HERE / "loopback_only.py"))
PATIENCE = 900  # seconds


def test_every_entrance_of_the_table_has_its_lines():
    rows = re.findall(r"^\| .+? \| \[([^\]]+)\]\(#([\w-]+)\) \|", (ROOT / "docs" / "choose-your-entrance.md").read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(ENTRANCES) == list(CHECKS)
    assert [anchor for _, anchor in rows] == [name.lower().replace(" ", "-") for name in ENTRANCES]
    for entrance in ENTRANCES.values():
        assert entrance.installs
        assert entrance.lines or entrance.script
        ast.parse(entrance.script)


def ran(command, folder, **environment):
    """The output of a command and whether it succeeded, with nothing of this checkout and its environment on its paths."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV") and "TTA_" not in name}
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**inherited, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )


@attrs.frozen
class Environment:
    """A virtual environment, and a folder to work in. The clone of the project is in another folder."""

    path: Path
    clone: Path
    work: Path

    def shell(self, line, folder, *before, **environment):
        """The output of a line, run by a shell in which the environment is activated. Raises if it fails."""
        path = os.pathsep.join((str(self.path / "bin"), os.environ["PATH"]))
        home = str(self.path / "home")  # the environment does not use the caches and settings of this machine's user
        finished = ran((*before, "bash", "-c", line), folder, PATH=path, VIRTUAL_ENV=str(self.path), HOME=home, **environment)
        assert finished.returncode == 0, f"{line}\n{finished.stdout}"
        return finished.stdout

    def install(self, line, folder):
        """Installs with uv if it is available, which links files that it has already unpacked, and with pip otherwise."""
        constraints = str(ROOT / "constraints.txt")
        cache = {name: os.environ.get(name) or str(Path.home() / ".cache" / folder) for name, folder in CACHES.items()}
        given = {"PIP_CONSTRAINT": constraints, "UV_CONSTRAINT": constraints, "PIP_QUIET": "1", "PIP_NO_COMPILE": "1", **cache}
        self.shell(f"uv {line}" if shutil.which("uv") else line, folder, **given)

    def offline(self, line, *before):
        """The output of a line that is run without a network, in the folder to work in."""
        cut = {"PYTHONPATH": str(HERE / "no_network"), "HF_HUB_OFFLINE": "1"}
        return self.shell(line, self.work, *(UNSHARE if namespaces() else ()), *before, **cut)


CACHES = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip"}


def namespaces():
    """Whether this system lets a user create a namespace without a network."""
    return shutil.which("unshare") is not None and ran((*UNSHARE, "true"), HERE).returncode == 0


@pytest.fixture(scope="session")
def clone(built, tmp_path_factory):
    """The files of a release, in their own folder."""
    folder = tmp_path_factory.mktemp("clone")
    with tarfile.open(built.sdist) as archive:
        archive.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside


@pytest.fixture
def environment(clone, tmp_path):
    made = Environment(tmp_path / "env", clone, tmp_path / "work")
    made.work.mkdir()
    create = ("uv", "venv", "--quiet", "--python") if shutil.which("uv") else ()
    finished = ran((*create, sys.executable, made.path) if create else (sys.executable, "-m", "venv", made.path), tmp_path)
    assert finished.returncode == 0, finished.stdout
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.browser if name == "Studio" else ()) for name in ENTRANCES])
def test_the_first_lines_run_in_an_empty_environment_without_a_network(environment, name):
    entrance = ENTRANCES[name]
    for line in entrance.installs:
        environment.install(line, environment.clone)
    CHECKS[name](environment, entrance)


@pytest.mark.slow
def test_there_is_no_network_in_these_tests(environment):
    asking = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 5)\nexcept OSError as error: print(error)"
    assert "no network here" in environment.offline(f'python -c "{asking}"')


def lines(environment, entrance):
    """Runs the lines of a shell, one after another."""
    return [environment.offline(line) for line in entrance.lines]


def script(environment, entrance):
    """Runs the section's Python code as a file."""
    (environment.work / "first_lines.py").write_text(entrance.script)
    return environment.offline("python first_lines.py")


def python(environment, entrance):
    assert " -> " in script(environment, entrance)
    record = json.loads((environment.work / "images" / "run.json").read_text())
    assert record["scores"][0] > record["baseline_scores"][0]


def command_line(environment, entrance):
    lines(environment, entrance)
    assert json.loads((environment.work / "tta-out" / "run.json").read_text())["scores"]
    assert (environment.work / "tta-out" / "grid.png").is_file()


def studio(environment, entrance):
    (line,) = entrance.lines
    # the browser is driven from this environment, and the studio runs in the empty one
    environment.offline(f"{sys.executable} {HERE / 'press_run.py'} {CHROMIUM} '{line}'")
    assert (environment.work / "tta-studio" / "run" / "aligned.png").is_file()


def notebook(environment, entrance):
    written = environment.work / "first-images.ipynb"
    book = json.loads((environment.clone / "docs" / "notebooks" / written.name).read_text())
    for cell in book["cells"]:
        cell |= {"outputs": []} if cell["cell_type"] == "code" else {}
    written.write_text(json.dumps(book))
    lines(environment, entrance)
    given = [output for cell in json.loads(written.read_text())["cells"] for output in cell.get("outputs", ())]
    assert any("data:image/png;base64," in "".join(output.get("data", {}).get("text/html", "")) for output in given)


def steered(environment, entrance):
    script(environment, entrance)
    assert len(list(environment.work.glob("*.png"))) == 1


def comfyui(environment, entrance):
    """Runs the nodes by their published interface; `test_in_comfyui.py` runs them in ComfyUI itself."""
    (environment.work / "custom_nodes").mkdir()
    (line,) = entrance.lines
    environment.shell(line.replace("/path/to/ComfyUI", str(environment.work)), environment.clone)
    said = environment.offline(f"python {ROOT / 'tests' / 'integrations' / 'workflow.py'} custom_nodes/tta-align")
    record = json.loads(said.partition("(2, 64, 64, 3) (2, 64, 64, 3) ")[2])
    assert sum(record["scores"]) > sum(record["baseline_scores"])


def bench(environment, entrance):
    lines(environment, entrance)
    assert (environment.work / "runs" / "first" / "report.html").is_file()


def plugin(environment, entrance):
    write, install, test = entrance.lines
    environment.offline(write)
    environment.install(install, environment.work)
    assert re.search(r"\d+ passed", environment.offline(test))
    for kind in KINDS.keys() - {"method"}:
        environment.offline(write.replace("method", kind, 1).replace("my-method", f"my-{kind}"))
        environment.install(install.replace("method", kind), environment.work)
        assert re.search(r"\d+ passed", environment.offline(test.replace("method", kind)))


CHECKS = {
    "Python": python,
    "Command line": command_line,
    "Studio": studio,
    "Notebook": notebook,
    "Custom pipeline": steered,
    "Steering hook": steered,
    "ComfyUI": comfyui,
    "Bench": bench,
    "Plugin": plugin,
}
