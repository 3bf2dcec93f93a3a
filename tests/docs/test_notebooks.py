"""The notebooks run from top to bottom, in a kernel of their own, and are committed without outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

BOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A notebook, executed in an empty folder without a network: what its cells gave, in HTML and as text."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def executed(name):
        (path,) = (path for path in BOOKS if path.stem == name)
        book = nbformat.read(path, as_version=4)
        NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
        outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
        pages = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
        return pages, "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")

    return executed


def test_both_are_there_without_outputs():
    assert [path.stem for path in BOOKS] == ["first-images", "own-reward-honest-comparison"]
    for path in BOOKS:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert [(cell.outputs, cell.execution_count) for cell in cells] == [([], None)] * len(cells)


def test_the_first_images_raise_their_reward(run):
    pages, said = run("first-images")
    assert len(pages) == 2
    assert all('src="data:image/png;base64,' in page and "gain in ShapesCLIP (cosine)" in page for page in pages)
    plain, aligned = (float(re.search(rf"^{word} +([\d.]+) cosine", said, re.MULTILINE)[1]) for word in ("plain", "aligned"))
    assert aligned > plain
    assert "'run.json'" in said
    assert "step  6 of 6" in said


def test_the_comparison_shows_its_verdicts(run):
    pages, said = run("own-reward-honest-comparison")
    alignment, comparison = pages
    assert "gain in vividness" in alignment
    assert "<svg" in comparison
    assert "4 prompts; 24 of 24 cells drawn, 0 failed" in " ".join(comparison.split())
    rows = dict(re.findall(r"<tr><td>([^<]+)</td><td><b>([a-z ]+)</b>", comparison))
    assert set(rows) == {"random-direction", "DATE, second half", "DATE, every step"}
    assert set(rows.values()) <= {"gain", "no evidence", "harm", "hacked"}
    raised = re.search(r"<td>DATE, every step</td>.*?</td><td>.*?</td>\s*<td>([+-][\d.]+)", comparison, re.DOTALL)
    assert float(raised[1]) > 0
    assert len(re.findall(r"^DATE.* beyond best of", said, re.MULTILINE)) == 2
