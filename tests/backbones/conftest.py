"""Pipelines that are small enough to build in a test, one of each family, built once per session."""

import diffusers
import pytest
from tiny_pipelines import build

NEEDED = {"qwen-image": (0, 37), "z-image": (0, 36), "flux2-dev": (0, 36), "flux2-klein": (0, 37)}  # of diffusers


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The folder of a family's pipeline, written by `save_pretrained`, by name. Each pipeline is built and saved once."""
    known = {}

    def folder(name):
        if name not in known:
            known[name] = tmp_path_factory.mktemp(name)
            build(name, known[name]).save_pretrained(known[name] / "pipeline")
        return known[name] / "pipeline"

    return folder


@pytest.fixture(scope="session")
def _pipelines(tmp_path_factory):
    known = {}

    def pipeline(name):
        needed, version = NEEDED.get(name, (0, 0)), diffusers.__version__
        if tuple(map(int, version.split(".")[:2])) < needed:
            pytest.skip(f"{name} needs diffusers {needed[0]}.{needed[1]}, and {version} is installed")
        if name not in known:
            known[name] = build(name, tmp_path_factory.mktemp(name))
        return known[name]

    return pipeline


@pytest.fixture
def pipelines(_pipelines):
    """A family's pipeline, by name, with its own scheduler in each test."""
    lent = {}

    def pipeline(name):
        pipe = _pipelines(name)
        if name not in lent:
            lent[name] = pipe.scheduler
            pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        return pipe

    yield pipeline
    for name, scheduler in lent.items():
        _pipelines(name).scheduler = scheduler
