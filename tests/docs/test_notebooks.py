"""The notebooks run from top to bottom, and their committed outputs have the formats and words of new ones."""

import re
import runpy
from pathlib import Path

import nbformat
import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "execute_notebooks.py"
LARGEST = 400_000  # bytes of a notebook with its images


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def books(script):
    """By name, each notebook as it is committed, and with the outputs of a new run."""
    paths = script["BOOKS"]
    return {path.stem: (nbformat.read(path, as_version=4), run) for path, run in zip(paths, script["executed"](paths), strict=True)}


def outputs(book):
    return [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]


def given(book):
    """The outputs of the cells: HTML pages, and printed text."""
    pages = [output.data["text/html"] for output in outputs(book) if "text/html" in output.get("data", {})]
    return pages, "".join(output.text for output in outputs(book) if output.output_type == "stream" and output.name == "stdout")


def kinds(book):
    """What does not depend on the machine: the formats of each output, the elements of a page, and printed words without their numbers."""
    for output in outputs(book):
        if output.output_type == "stream":
            yield output.name, re.sub(r"\W*\d[\d.,e+-]*", " #", output.text)
        else:
            page = output.data.get("text/html", "")
            yield output.output_type, *sorted(output.data), *sorted(set(re.findall(r"<(\w+)", page)))


def test_committed_outputs_agree_with_a_new_run(books):
    assert list(books) == ["first-images", "own-reward-honest-comparison"]
    for written, run in books.values():
        assert list(kinds(written)) == list(kinds(run)), "run `python docs/execute_notebooks.py`"
        assert [cell.execution_count for cell in written.cells if cell.cell_type == "code"] == list(
            range(1, sum(cell.cell_type == "code" for cell in written.cells) + 1)
        )


def test_committed_notebooks_are_small_and_name_no_folder_of_a_machine(script):
    for path in script["BOOKS"]:
        assert path.stat().st_size < LARGEST
        assert re.findall(r"/(?:home|root|tmp|Users)/[\w.-]+", path.read_text()) == []


def test_the_first_images_raise_their_reward(books):
    for book in books["first-images"]:
        pages, said = given(book)
        assert len(pages) == 2
        assert all('src="data:image/png;base64,' in page and "gain in ShapesCLIP (cosine)" in page for page in pages)
        plain, aligned = (float(re.search(rf"^{word} +\(?([\d.]+)", said, re.MULTILINE)[1]) for word in ("plain", "aligned"))
        assert aligned > plain
        assert "'run.json'" in said
        assert "step  6 of 6" in said


def test_the_comparison_shows_its_verdicts(books):
    for book in books["own-reward-honest-comparison"]:
        (alignment, comparison), said = given(book)
        assert "gain in vividness" in alignment
        assert "<svg" in comparison
        assert "4 prompts; 24 of 24 cells sampled, 0 failed" in " ".join(comparison.split())
        rows = dict(re.findall(r"<tr><td>([^<]+)</td><td><b>([a-z ]+)</b>", comparison))
        assert set(rows) == {"random-direction", "DATE, second half", "DATE, every step"}
        assert set(rows.values()) <= {"gain", "no evidence", "harm", "hacked"}
        raised = re.search(r"<td>DATE, every step</td>.*?</td><td>.*?</td>\s*<td>([+-][\d.]+)", comparison, re.DOTALL)
        assert float(raised[1]) > 0
        assert len(re.findall(r"^DATE.* beyond best of", said, re.MULTILINE)) == 2
