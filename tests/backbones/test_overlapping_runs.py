"""Two runs on one pipeline, in threads or nested: each has the result that it has alone, or the second is refused by name."""

import threading
import time

import pytest
import torch
from stock import PROMPTS, brightness
from test_pipelines_are_not_changed import state

import tta_core
from tta_core.errors import IncompatibleError
from tta_core.plugins.resolve import backbone as resolved
from tta_core.plugins.resolve import policies
from tta_plugins.methods.date import DATE

CAST = "while another run uses it"


def run(pipe, rho=0.1, **changes):
    settings = {"method": DATE(rho=rho), "reward": brightness, "steps": 2, "height": 32, "width": 32, **changes}
    return tta_core.align(PROMPTS[:1], backbone=pipe, **settings).result.pixels


class During:
    """An observer that does something once in the middle of a run, and keeps the result or the exception."""

    def __init__(self, act):
        self.act, self.came, self.raised = act, None, None

    def __call__(self, snapshot):
        if self.came is None and self.raised is None:
            try:
                self.came = self.act()
            except Exception as error:
                self.raised = error


def in_a_thread(act):
    """The same action in another thread; waits until it has ended."""
    outcome = []

    def caught():
        try:
            outcome.append((act(), None))
        except Exception as error:
            outcome.append((None, error))

    def wait():
        thread = threading.Thread(target=caught)
        thread.start()
        thread.join()
        ((came, raised),) = outcome
        if raised is not None:
            raised.__traceback__ = None
            raise raised
        return came

    return wait


@pytest.fixture
def pipe(pipelines):
    """A pipeline whose networks have different modes and flags before a run."""
    made = pipelines("sd")
    made.vae.train()
    next(made.unet.parameters()).requires_grad_(False)
    yield made
    made.vae.eval()
    next(made.unet.parameters()).requires_grad_(True)


PAIRS = [
    ("nested", (), ()),
    ("thread", (), ()),
    ("nested", "bf16", ()),
    ("thread", (), "bf16"),
    ("thread", "checkpointing", "bf16"),
    ("nested", (), "chunked"),
]


@pytest.mark.parametrize(("where", "outer", "inner"), PAIRS)
def test_a_run_inside_another(pipe, where, outer, inner):
    plain, alone = run(pipe, rho=0.3, memory=inner), run(pipe, memory=outer)
    before = state(pipe)
    during = During({"nested": lambda act: act, "thread": in_a_thread}[where](lambda: run(pipe, rho=0.3, memory=inner)))
    assert torch.equal(run(pipe, memory=outer, observers=[during]), alone)
    if outer or inner:
        assert isinstance(during.raised, IncompatibleError)
        assert CAST in str(during.raised)
        assert repr(policies(outer or inner)[0]) in str(during.raised)
    else:
        assert torch.equal(during.came, plain)
    after = state(pipe)
    if "bf16" in (outer, inner):  # the weights were cast and restored
        before["parameters"] = after["parameters"] = ()
    assert after == before


def test_contexts_that_end_in_the_other_order(pipe):
    before, settings = state(pipe), {"backbone": pipe, "method": "fixed", "reward": brightness, "steps": 2, "height": 32, "width": 32}
    first, second = (tta_core.prepare(PROMPTS[:1], **settings) for _ in range(2))
    made = first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(parameter.requires_grad for parameter in pipe.vae.parameters()), "the second still has it"
    assert torch.isfinite(made.problem.sample(made.problem.controls)).all()
    second.__exit__(None, None, None)
    assert state(pipe) == before


def test_many_threads_with_and_without_policies(pipe):
    """Each run has the result that it has alone, or is refused, and at the end the pipeline is as before."""
    expected = {memory: run(pipe, memory=memory) for memory in ((), "bf16")}
    before, outcomes = state(pipe), []

    def work(memory):
        for _ in range(2):
            try:
                outcomes.append(torch.equal(run(pipe, memory=memory), expected[memory]))
            except IncompatibleError as error:
                outcomes.append(CAST in str(error))

    threads = [threading.Thread(target=work, args=(memory,)) for memory in ((), (), "bf16")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 6
    after = state(pipe)
    before["parameters"] = after["parameters"] = ()
    assert after == before


def test_no_two_threads_encode_at_once(pipe, monkeypatch):
    """A call of a tokenizer sets its padding, so a call of another thread in between would change the tokens."""
    encode, inside, most = pipe.encode_prompt, [], []

    def watched(*args, **kwargs):
        inside.append(1)
        time.sleep(0.01)
        most.append(len(inside))
        try:
            return encode(*args, **kwargs)
        finally:
            inside.pop()

    monkeypatch.setattr(pipe, "encode_prompt", watched)
    expected = resolved(pipe).encode(PROMPTS[:1], 32, 32).tokens
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(torch.equal(resolved(pipe).encode(PROMPTS[:1], 32, 32).tokens, expected)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 3
    assert set(most) == {1}
