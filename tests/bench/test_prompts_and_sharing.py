"""Prompt files with facts, scores added later, packing, comparing, recipes."""

import json
import shutil

import pytest
import torch

import tta_core
from tta_core.errors import IncompatibleError, InputError, LoadError, TTAError, UnknownNameError
from tta_plugins.backbones.pretrained import load_pipeline
from tta_plugins.backbones.stable_diffusion import stable_diffusion
from tta_plugins.bench.identity import identity_of, weights_of, without_places
from tta_plugins.bench.noise_panel import noise_panel
from tta_plugins.bench.panel import NAMES, panel
from tta_plugins.bench.parts import method_of
from tta_plugins.bench.plan import resolve_plan
from tta_plugins.bench.prompt_files import SHIPPED, Choice, read_choice
from tta_plugins.bench.recipes import HERE, recipes, write_recipe
from tta_plugins.bench.results import read_results
from tta_plugins.bench.sharing import compared, pack
from tta_plugins.bench.spec import read_spec, spec_of
from tta_plugins.shapes.load import pipeline_folder


def test_columns_become_facts_and_repetitions_are_counted(tmp_path):
    (tmp_path / "p.csv").write_bytes("\ufeffPrompt,style\r\na cat,animal\r\na dog,animal\r\na cat,pet\r\n".encode())
    found = read_choice(Choice("p.csv", column="Prompt"), tmp_path)
    assert [(str(one), dict(one.facts)) for one in found.prompts] == [("a cat", {"style": "animal"}), ("a dog", {"style": "animal"})]
    assert (found.record["repeated"], found.record["rows"]) == (1, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "a cat\r\na dog\u2028here\n"),
        ("p.json", json.dumps(["a cat", {"prompt": "a dog\u2028here"}])),
        ("p.jsonl", '{"prompt": "a cat"}\n' + json.dumps({"prompt": "a dog\u2028here"}) + "\n"),
        ("p.tsv", "prompt\tn\na cat\t1\na dog\u2028here\t2\n"),
    ],
)
def test_every_kind_of_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content.encode())
    assert [str(one) for one in read_choice(Choice(name), tmp_path).prompts] == ["a cat", "a dog\u2028here"]


def test_the_same_weights_in_another_folder_are_the_same_arm(tmp_path):
    """Two machines or installations must be able to share one comparison."""
    folder = shutil.copytree(pipeline_folder(), tmp_path / "copied, elsewhere")

    def key(path):
        backbone = stable_diffusion(load_pipeline(str(path), torch.float32, "cpu"))
        with tta_core.prepare("a red circle", backbone=backbone, method="fixed", reward="shapes-oracle", steps=2) as prepared:
            return identity_of(prepared, weights_of(prepared))["key"], repr(backbone)

    (one, shown), (other, shown_there) = key(pipeline_folder()), key(folder)
    assert one == other
    assert shown != shown_there
    assert without_places("A(b from /x, n=2) at 0x7f") == "A(b, n=2)"


def test_strata_are_sampled_in_turn(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,kind\n" + "".join(f"p{i},{'a' if i < 8 else 'b'}\n" for i in range(10)))
    found = read_choice(Choice("p.csv", stratify="kind", limit=4), tmp_path).prompts
    assert sorted(one.facts["kind"] for one in found) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"other\nx\n"])
def test_invalid_prompt_files_are_refused(tmp_path, content):
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(LoadError, match=r"p\.csv"):
        read_choice(Choice("p.csv"), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pool": 0}, "pool"),
        ({"steps": "ten"}, "steps"),
        ({"stepz": 3}, "stepz"),
        ({"arms": [{"name": "pool", "method": "date"}]}, "control"),
        ({"arms": [{"name": "A", "method": "date"}] * 2}, "Two arms"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"fail_on": 2.0}, "fail_on"),
    ],
)
def test_a_wrong_toml_is_refused_by_name(change, said):
    with pytest.raises(InputError, match=said):
        spec_of({"prompts": {"file": "shapes-hard"}, "arms": [], **change}, "bench.toml")


def test_the_shipped_prompts_are_sentences_of_the_language():
    from tta_plugins.shapes.grammar import parse

    found = read_choice(Choice("shapes-hard"), HERE)
    assert len(found.prompts) == 400
    for prompt in found.prompts:
        caption = parse(prompt)
        assert prompt.facts["relation"] == caption.relation
        assert (prompt.facts["training"] == "unseen") == caption.held_out


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.toml")))
def test_every_recipe_can_be_planned(name, tmp_path):
    plan = resolve_plan_of(name, tmp_path)
    for arm in plan.arms:
        method_of(arm)


def resolve_plan_of(name, folder):
    path = write_recipe(name, folder / "bench.toml")
    (folder / "prompts.txt").write_text("a cat\na dog\n")
    spec = read_spec(path)
    if not (SHIPPED / f"{spec.prompts.file}.csv").is_file():
        file = folder / spec.prompts.file
        tables = {".tsv": f"{spec.prompts.column}\na cat\n", ".txt": "a cat\n", ".json": '["a cat"]', ".jsonl": '{"prompt": "a cat"}\n'}
        file.write_text(tables[file.suffix])
    return resolve_plan(path)


def test_a_recipe_overwrites_nothing(tmp_path):
    (tmp_path / "bench.toml").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        write_recipe(next(iter(recipes())), tmp_path / "bench.toml")
    with pytest.raises(UnknownNameError, match="shapes-quick"):
        write_recipe("shapes-quik", tmp_path / "other.toml")


def test_packed_results_compare_only_with_the_same_plan(drawn, tmp_path):
    _, folder = drawn
    pack(folder, tmp_path / "packed")
    primary, rows = compared(folder, tmp_path / "packed")
    assert primary == "shapes-strict"
    assert {row[0] for row in rows} == {"fixed", "random-direction", "DATE"}
    assert all(float(row[3]) == 0 for row in rows)
    assert not list((tmp_path / "packed").rglob("*.png"))
    summary = json.loads((tmp_path / "packed" / "summary.json").read_text())
    summary["prompts"]["digest"] = "another"
    (tmp_path / "packed" / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(IncompatibleError, match="prompts differ"):
        compared(folder, tmp_path / "packed")


def test_a_written_table_can_be_read(drawn):
    plan, folder = drawn
    results = read_results(folder / "results.csv")
    assert all(results.values("fixed", reward) for reward in plan.rewards)
    assert len(results.values("pool", "clip")) == 8


def test_a_summary_of_another_reward_version_is_refused(drawn):
    from tta_plugins.bench.scoring import Scores

    with pytest.raises(InputError, match="another version"):
        Scores(drawn[1]).identify("clip", lambda images, prompts: images.mean((1, 2, 3)))


def test_the_panel_detects_a_hacked_reward():
    noisy, flat = torch.rand(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.4)
    assert tuple(panel(noisy)) == NAMES
    assert panel(flat) == pytest.approx(dict.fromkeys(NAMES, 0.0) | {"brightness": 0.4}, abs=1e-5)
    assert panel(noisy)["high frequencies"] > 0.5
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0, :, 16:] = 1
    assert panel(red)["colour entropy"] == pytest.approx(0.6931, abs=1e-3)
    assert panel(red)["edge density"] == pytest.approx(2 / 32)


def test_scaled_noise_is_detected():
    noise = torch.randn(3, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    steered = noise.clone()
    steered[0] *= 2
    found = noise_panel(noise, steered)
    assert found["mean square"] == pytest.approx([4, 4], rel=0.2)
    assert noise_panel(noise, noise) == {}


def test_unknown_arms_and_methods_are_refused(tmp_path):
    plan = resolve_plan_of("shapes-quick", tmp_path)
    with pytest.raises(InputError, match="DATE"):
        plan.arm("DATTE")
    with pytest.raises(TTAError, match="date"):
        method_of(type(plan.arms[0])("x", "dat"))


def test_the_commands_work(drawn, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from tta_plugins.cli.app import app

    def told(*arguments):
        ran = CliRunner().invoke(app, ["bench", *map(str, arguments)])
        assert ran.exit_code == 0, ran.output
        return ran.output

    _, folder = drawn
    assert "DATE" in told("status", folder)
    assert "shapes-quick" in told("init")
    assert "--dry-run" in told("init", "shapes-quick", "--out", tmp_path / "bench.toml")
    assert "Packed" in told("pack", folder, tmp_path / "packed")
    assert "random-direction" in told("compare", folder, tmp_path / "packed")
    ran = CliRunner().invoke(app, ["bench", "status", str(tmp_path / "nowhere")])
    assert ran.exit_code == 1
    assert "holds no comparison" in ran.output
