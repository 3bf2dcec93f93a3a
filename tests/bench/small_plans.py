"""Plans that are small enough for every test."""

from pathlib import Path

from tta_plugins.bench.plan import plan_of
from tta_plugins.bench.prompt_files import read_choice
from tta_plugins.bench.spec import spec_of

WRITTEN = {
    "title": "small",
    "target": "clip",
    "held_out": ["shapes-oracle"],
    "primary": "shapes-strict",
    "steps": 2,
    "pool": 2,
    "batch": 2,
    "strips": 1,
    "prompts": {"file": "shapes-hard", "limit": 4},
    "arms": [{"name": "DATE", "method": "date", "set": {"rho": 0.4, "updates": "Every()"}}],
}


def planned(**changes):
    spec = spec_of({**WRITTEN, **changes}, "test")
    return plan_of(spec, read_choice(spec.prompts, Path()))
