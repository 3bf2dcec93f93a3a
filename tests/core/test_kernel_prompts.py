"""Prompts with facts are texts for code that reads texts, and keep their facts until the reward reads them, in Python and from files."""

import copy
import json
import pickle

import jaxtyping
import pytest
import torch

import tta_core as tta
from tta_core.errors import InputError, LoadError
from tta_core.running.prompt_files import read_prompts
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.values.prompts import facts_of
from tta_plugins.methods.date import DATE
from tta_plugins.rewards.mixtures import WeightedSum

FULL = tta.Prompt("a sign", target="STOP", questions=[("What shape?", "octagon")], category="text", more={"count": 3})


class Reader:
    """A reward that reads a fact, and stores the prompts that it was given."""

    card = tta.Card(differentiable=True, facts=("target",))

    def __init__(self):
        self.seen = []

    def __call__(self, images, prompts):
        self.seen += prompts
        return images.mean((1, 2, 3)) * torch.tensor([float(len(facts_of(prompt)["target"])) for prompt in prompts])


def aligned(prompts, reward, **changes):
    return tta.align(prompts, backbone=GaussianMixture(), method=DATE(), reward=reward, scheduler=vp_scheduler(2), **changes)


def test_a_prompt_is_its_text():
    assert FULL == "a sign"
    assert hash(FULL) == hash("a sign")
    assert {"a sign": 1}[FULL] == 1
    assert type(str(FULL)) is str
    assert json.dumps(FULL) == '"a sign"'
    assert facts_of(FULL.upper()) == {}
    assert repr(FULL) == "'a sign'"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda prompt: pickle.loads(pickle.dumps(prompt))])
def test_copies_keep_the_facts(again):
    assert (
        dict(again(FULL).facts)
        == dict(FULL.facts)
        == {
            "target": "STOP",
            "questions": (("What shape?", "octagon"),),
            "category": "text",
            "count": 3,
        }
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": 3}, "target of a prompt must be a text, but this is 3"),
        ({"questions": "How many?"}, "pairs of texts.*'How many"),
        ({"questions": [("a", "b", "c")]}, "pairs of texts"),
        ({"questions": [("How many?", 2)]}, "pairs of texts"),
        ({"questions": []}, "pairs of texts"),
        ({"more": {"target": "x"}}, "Write Prompt\\(text, target="),
    ],
)
def test_facts_of_another_kind_are_refused(wrong, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match=message):
        tta.Prompt("a sign", **wrong)


def test_facts_reach_the_reward_through_a_run_with_particles_and_are_recorded():
    reward = Reader()
    prompts = [FULL, tta.Prompt("a wall", target="GO")]
    alignment = aligned(prompts, WeightedSum({"read": reward}))
    assert {len(facts_of(prompt)["target"]) for prompt in reward.seen} == {2, 4}
    assert all(isinstance(prompt, tta.Prompt) for prompt in reward.seen)
    assert alignment.record()["prompts"] == ["a sign", "a wall"]
    assert alignment.record()["facts"][0]["target"] == "STOP"
    json.dumps(alignment.record())


def test_facts_do_not_change_the_samples():
    plain, carried = (aligned(prompt, lambda images, _: images.mean((1, 2, 3))) for prompt in ("a sign", FULL))
    assert torch.equal(plain.result.pixels, carried.result.pixels)


def test_a_missing_fact_is_refused_by_name_before_the_first_step():
    for reward in (Reader(), WeightedSum({"read": Reader()})):
        with pytest.raises(InputError, match=r"needs the fact 'target' .* 1 of 2 have none, the first 'a wall'.*Prompt\(text, target="):
            aligned([FULL, "a wall"], reward)


def written(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def test_only_line_feeds_end_a_line_and_a_byte_order_mark_is_not_text(tmp_path):
    file = written(tmp_path, "p.txt", "\ufeffone\r\ntwo\u2028still\x85two\x0b\x0c.\n\n three \n".encode())
    with pytest.warns(UserWarning, match="1 blank line"):
        assert read_prompts(file) == ["one", "two\u2028still\x85two\x0b\x0c.", "three"]


def test_json_lines_and_tables_carry_the_same_facts(tmp_path):
    pairs = [["How many?", "two"]]
    rows = [{"prompt": "a, b", "target": "STOP", "questions": pairs, "reference": "x.png", "kind": "relation"}, {"prompt": "plain"}]
    lines = written(tmp_path, "p.jsonl", "\n".join(map(json.dumps, rows)))
    table = written(
        tmp_path, "p.csv", 'prompt,target,questions,reference,kind\r\n"a, b",STOP,"[[""How many?"",""two""]]",x.png,relation\nplain,,,,\n'
    )
    for first, second in map(read_prompts, (lines, table)):
        assert first == "a, b"
        assert dict(facts_of(first)) == {
            "target": "STOP",
            "questions": (("How many?", "two"),),
            "reference": tmp_path / "x.png",
            "kind": "relation",
        }
        assert (second, facts_of(second)) == ("plain", {})


def test_the_column_of_prompts_can_be_named_and_is_found_in_any_case(tmp_path):
    assert read_prompts(written(tmp_path, "a.tsv", "Prompt\tCategory\na dog\tAnimals\n"))[0].facts == {"Category": "Animals"}
    assert read_prompts(written(tmp_path, "b.csv", "id,caption\n7,a dog\n"), column="caption") == ["a dog"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"one\n\xff\xfe\n", r"p\.txt, line 2, is not UTF-8"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": \n', r"p\.jsonl, line 2: not JSON"),
        ("p.txt", "a\nb\0", "line 2, holds a null character"),
        ("p.jsonl", "[1]", "line 1: .* is not an object"),
        ("p.jsonl", '{"prompt": "a", "prompt": "b"}', "line 1: not JSON .two values have the same name"),
        ("p.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("p.json", '{"prompts": ["a"]}', "is not a JSON list"),
        ("p.json", '["a", 5]', "entry 2: 5 is not an object"),
        ("p.json", '["a", " "]', "entry 2: no text"),
        ("p.csv", "Prompt,prompt\na,b\n", "line 2: Prompt and prompt may both be the prompt"),
        ("p.jsonl", '{"text": "a"}', "no text in the column 'prompt'; it has text"),
        ("p.jsonl", '{"prompt": "a", "questions": [3]}', "line 1: questions must be pairs"),
        ("p.csv", "prompt,prompt\na,b\n", "two columns have the same name"),
        ("p.csv", "prompt,kind\na, b, c\n", "line 2: 3 cells, but the header has 2"),
        ("p.csv", 'prompt\n"a\n', "line 2: "),
        ("p.csv", "prompt,questions\na,oops\n", "line 2: "),
    ],
)
def test_a_malformed_line_is_named(tmp_path, monkeypatch, name, content, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(LoadError, match=message):
        read_prompts(written(tmp_path, name, content))


def test_absent_and_empty_files_are_refused(tmp_path):
    with pytest.raises(LoadError, match="could not be read"):
        read_prompts(tmp_path / "none.txt")
    with pytest.raises(InputError, match="holds no prompt"):
        read_prompts(written(tmp_path, "empty.csv", "prompt\n"))
