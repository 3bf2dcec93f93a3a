"""The distributions of the project, built once; and third-party packages, written by `tta new`, built and installed by pip into a
folder."""

import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from typer.testing import CliRunner

from tta_core.plugins.discovery import plugins
from tta_core.values import provenance
from tta_plugins.cli.app import app
from tta_plugins.cli.new import new

ROOT = Path(__file__).parents[2]


@attrs.frozen
class Built:
    """The source distribution, and the wheel that was built from it."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The distributions that `make dist` builds."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


@attrs.frozen
class Strangers:
    """A folder into which packages are installed, and a folder in which they are written."""

    site: Path
    sources: Path

    def run(self, *command, **environment):
        """Runs a Python command line in a process that sees the installed packages."""
        paths = os.pathsep.join(filter(None, (str(self.site), os.environ.get("PYTHONPATH", ""))))
        return subprocess.run(
            [sys.executable, *map(str, command)],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
            cwd=self.sources,
            capture_output=True,
            text=True,
            timeout=900,
        )


@pytest.fixture(scope="session")
def strangers(tmp_path_factory):
    """One package of each kind as `tta new` writes it, and two packages with errors of their authors."""
    folder = tmp_path_factory.mktemp("strangers")
    made = Strangers(folder / "site", folder / "sources")
    written = {"edges": "reward", "greedy": "method", "colours": "backbone", "closer": "sampler", "sliced": "policy"}
    for name, kind in {**written, "broken": "reward", "raising": "reward"}.items():
        new(kind, name, made.sources)
    spoil(made.sources / "tta-broken" / "tta_broken.py", "from tta_core import hookimpl", "import a_library_nobody_has")
    spoil(made.sources / "tta-raising" / "tta_raising.py", "images.diff(dim=-1)", "images.difference(dim=-1)")
    quiet = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index", "--no-cache-dir")
    finished = made.run("-m", "pip", "install", *quiet, "--target", made.site, *sorted(made.sources.iterdir()))
    assert finished.returncode == 0, finished.stderr
    return made


@pytest.fixture
def tta(strangers, monkeypatch):
    """Runs a command in this process, which sees the installed packages."""
    monkeypatch.syspath_prepend(str(strangers.site))
    plugins.cache_clear()
    provenance._distributions.cache_clear()
    yield lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)), prog_name="tta")
    for name in [name for name, module in sys.modules.items() if str(strangers.site) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]
    plugins.cache_clear()
    provenance._distributions.cache_clear()


def spoil(file, right, wrong):
    """Puts an author's error into a file."""
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
