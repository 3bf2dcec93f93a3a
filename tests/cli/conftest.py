"""A folder of installed plugins, as pip would write it, and the command line, run inside and outside this process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from typer.testing import CliRunner

from tta_core.plugins.discovery import plugins
from tta_core.values import provenance
from tta_plugins.cli.new import rendered

PLUGINS = (("backbone", "colours"), ("reward", "edges"), ("method", "greedy"))


@attrs.frozen
class Site:
    """A folder of packages with entry points, which can be put before the environment's own packages."""

    path: Path

    def add(self, name, module, source):
        """Installs a package of one module, or of several files by path."""
        for path, text in ({f"{module}.py": source} if isinstance(source, str) else source).items():
            (self.path / path).parent.mkdir(exist_ok=True)
            (self.path / path).write_text(text)
        facts = self.path / f"{module}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (facts / "top_level.txt").write_text(f"{module}\n")
        (facts / "entry_points.txt").write_text(f"[tta]\n{module} = {module}\n")

    def use(self, monkeypatch):
        """Puts the folder on this process's path, and forgets the plugins that were found before."""
        monkeypatch.syspath_prepend(str(self.path))
        plugins.cache_clear()
        provenance._distributions.cache_clear()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A new site with one package of each kind, in use."""
    made = Site(tmp_path / "site")
    made.path.mkdir()
    for kind, name in PLUGINS:
        module = f"tta_{name}"
        made.add(f"tta-{name}", module, {path: text for path, text in rendered(kind, name).items() if path.startswith(module)})
    made.use(monkeypatch)
    yield made
    for name in [name for name, module in sys.modules.items() if str(made.path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]
    plugins.cache_clear()
    provenance._distributions.cache_clear()


@pytest.fixture
def tta(site):
    """Runs a command in this process; returns typer's result (exit_code, stdout, stderr)."""
    from tta_plugins.cli.app import app

    def run(*arguments):
        return CliRunner().invoke(app, list(map(str, arguments)), prog_name="tta")

    return run


@pytest.fixture
def spawned(site):
    """Starts a command in its own process, without a terminal."""

    def start(*arguments, code="from tta_plugins.cli import main; main()", **environment):
        paths = os.pathsep.join(filter(None, (str(site.path), os.environ.get("PYTHONPATH", ""))))
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heeds_ctrl_c,
        )

    return start


def _heeds_ctrl_c():
    """Restores the default handler of SIGINT: a test that a shell starts in the background inherits an ignored Ctrl-C, which the command
    must not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
