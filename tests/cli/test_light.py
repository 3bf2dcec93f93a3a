"""Commands that only list names import no torch, no model library and no table library."""

import json

import pytest

REPORT = """
import atexit, json, sys
from tta_plugins.cli import main
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
main()
"""
HEAVY = {"torch", "diffusers", "transformers", "numpy", "rich", "PIL", "jaxtyping", "beartype", "gradio"}


LIGHT = [
    *("--help", "list", "align --help", "--version", "list rewards --json", "plugins --json", "studio --help"),
    *("doctor --no-load --json", "new reward sharp-edges --out {folder}"),
]


@pytest.mark.parametrize("command", LIGHT)
def test_nothing_heavy_is_imported(spawned, command, tmp_path):
    process = spawned(*(word.format(folder=tmp_path) for word in command.split()), code=REPORT)
    out, err = process.communicate(timeout=600)
    modules = set(json.loads(err.splitlines()[-1]))
    assert process.returncode == 0
    assert out
    assert modules & HEAVY == set()
    assert "tta_plugins.cli.app" in modules
