"""Damaged files, full disks and mistakes in a plan: a message that names the file or the entry, or the rest is used."""

import shutil

import pytest
from small_plans import WRITTEN, planned

from tta_core.errors import InputError, LoadError, SaveError, UnknownNameError
from tta_plugins.bench.dry_run import predicted_lines
from tta_plugins.bench.engines.here import Here
from tta_plugins.bench.files import append_line, lines_of, save
from tta_plugins.bench.finish import finish, rewrite
from tta_plugins.bench.plan import read_plan, resolve_plan
from tta_plugins.bench.run import sample
from tta_plugins.bench.scoring import Scores
from tta_plugins.bench.sharing import compared, pack
from tta_plugins.bench.status import status_of
from tta_plugins.bench.store import Store

DEEP = "[" * 100_000


@pytest.fixture
def copied(drawn, tmp_path):
    """A copy of a finished comparison, which a test may damage."""
    return shutil.copytree(drawn[1], tmp_path / "copy")


@pytest.mark.parametrize(
    "line", ["1", "null", DEEP, '{"prompt": 0, "seed": 0, "status": "done"}', '{"prompt": [], "seed": 0, "status": "failed"}']
)
def test_damaged_lines_are_left_out(copied, line):
    plan = read_plan(copied)
    for path in (*copied.glob("arms/*/cells.*.jsonl"), *copied.glob("scores/*.jsonl")):
        path.write_bytes(b"\xff\n" + line.encode() + b"\n" + path.read_bytes())
    assert sum(arm.done for arm in status_of(plan, copied).arms) == 5 * 4
    assert len(Scores(copied).read("clip")) == 5 * 4


def test_scores_on_disk_are_finite(tmp_path):
    append_line(tmp_path / "a.jsonl", [1])
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write("[NaN]\n")
    assert list(lines_of(tmp_path / "a.jsonl")) == [[1]]


@pytest.mark.parametrize("text", ["", "[]", "{", DEEP])
def test_a_damaged_file_is_named(copied, text):
    uses = {
        "plan.json": lambda: read_plan(copied),
        "arms/fixed/identity.json": lambda: rewrite(copied, copied / "report.html"),
        "scores/clip.json": lambda: finish(read_plan(copied), copied),
        "summary.json": lambda: compared(copied, copied),
    }
    for name, use in uses.items():
        whole = (copied / name).read_bytes()
        (copied / name).write_text(text)
        with pytest.raises(LoadError, match=name.partition("/")[0]):
            use()
        (copied / name).write_bytes(whole)


def test_a_damaged_identity_does_not_count_as_failed_cells(copied):
    plan = read_plan(copied)
    for image in Store(copied).image(plan.arm("fixed"), next(plan.cells(plan.arm("fixed")))).parent.iterdir():
        image.unlink()
    Store(copied).identity(plan.arm("fixed")).write_text("{")
    with pytest.raises(LoadError, match=r"identity\.json could not be read"):
        sample(plan, copied, Here())


def test_a_damaged_image_is_named_by_the_report(copied):
    for image in copied.glob("arms/fixed/images/*.png"):
        image.write_bytes(b"x")
    with pytest.raises(LoadError, match=r"\.png could not be read"):
        rewrite(copied, copied / "report.html")


@pytest.mark.parametrize("header", ["", "arm,prompt\n"])
def test_a_table_without_its_columns_is_refused(copied, header):
    (copied / "results.csv").write_text(header)
    with pytest.raises(LoadError, match="its first line"):
        rewrite(copied, copied / "report.html")


def test_a_table_that_a_spreadsheet_saved_can_be_read(copied):
    (copied / "results.csv").write_bytes(b"\xef\xbb\xbf" + (copied / "results.csv").read_bytes())
    assert rewrite(copied, copied / "elsewhere" / "report.html").is_file()


def test_summaries_of_another_version_are_not_compared(copied):
    file = copied / "summary.json"
    file.write_text(file.read_text().replace('"schema": 1', '"schema": 0'))
    with pytest.raises(LoadError, match="has the schema 0"):
        compared(copied, copied)


def test_files_that_cannot_be_written_are_named(copied, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="Cannot write"):
        save(tmp_path / "file" / "report.html", b"")
    with pytest.raises(SaveError, match="Cannot write"):
        append_line(tmp_path, [])
    with pytest.raises(InputError, match="Cannot write to"):
        pack(copied, tmp_path / "file")


def test_rewards_with_the_names_of_image_statistics_keep_their_scores(tmp_path):
    """The panel's statistics "contrast" and "saturation" are other numbers than the rewards of these names."""
    plan = planned(
        target="contrast",
        held_out=["saturation"],
        primary="contrast",
        arms=[],
        pool=1,
        batch=1,
        prompts={"file": "shapes-hard", "limit": 1},
    )
    sample(plan, tmp_path / "out", Here())
    finish(plan, tmp_path / "out")
    rewrite(tmp_path / "out", tmp_path / "page.html")
    scores = Scores(tmp_path / "out").read("contrast").values()
    head, *rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    columns = head.split(",")
    assert len(set(columns)) == len(columns)
    assert [float(row.split(",")[columns.index("contrast")]) for row in rows] == [numbers["png"] for numbers in scores]


@pytest.mark.parametrize("changes", [{"held_out": ["clipp"]}, {"primary": "clipp"}, {"arms": [{"name": "A", "method": "dat"}]}])
def test_unknown_names_are_refused_before_the_first_sample(tmp_path, changes):
    plan = planned(**changes)
    with pytest.raises(UnknownNameError):
        sample(plan, tmp_path / "out", Here())
    with pytest.raises(UnknownNameError):
        list(predicted_lines(plan, "a100"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("hours", [-1.0, float("nan"), float("inf")])
def test_a_budget_without_sense_is_refused(tmp_path, hours):
    with pytest.raises(InputError, match="budget of hours"):
        sample(planned(), tmp_path / "out", Here(), budget_hours=hours)


def test_a_dry_run_is_for_the_chosen_arms():
    said = list(predicted_lines(planned(height=7), "a100", ["DATE"]))
    assert [line.split()[0] for line in said[2:4]] == ["fixed", "DATE"]
    assert said[-2].startswith("The cost of 2 of 2 arms cannot be predicted")


def test_a_toml_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "b.toml").write_bytes(b'\xef\xbb\xbfarms = []\n[prompts]\nfile = "shapes-hard"\nlimit = 1\n')
    assert len(resolve_plan(tmp_path / "b.toml").prompts) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": WRITTEN["arms"][0]}, r"Write \[\[arms\]\]"),
        ({"prompts": "prompts.txt"}, "is not a table"),
        ({"arms": [{"name": " ", "method": "date"}]}, "name of an arm is ' '"),
        ({"arms": [{"name": "\x1b[2J", "method": "date"}]}, "Give each arm a name of visible characters"),
        ({"strips": -1}, "strips must be at least 0"),
        ({"prompts": {"file": "shapes-hard", "limit": -1}}, "limit is -1"),
        ({"prompts": {"file": "shapes-hard", "skip": -1}}, "skip is -1"),
        ({"held_out": ["flops"]}, "'flops' cannot be a score"),
    ],
)
def test_mistakes_in_a_plan_are_named(changes, said):
    with pytest.raises(InputError, match=said):
        planned(**changes)
