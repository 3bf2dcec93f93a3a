"""Runs the notebooks of docs/notebooks and writes the outputs of their cells into them: `python docs/execute_notebooks.py`."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import nbformat
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

PATIENCE = 600  # seconds
WAITS = ("startup_timeout", "timeout", "iopub_timeout")  # for the kernel, the end of a cell, and a cell's last output
TEMPORARY = re.compile(re.escape(gettempdir()) + r"/tmp\w+")
BOOKS = sorted((Path(__file__).parent / "notebooks").glob("*.ipynb"))


def executed(paths: Sequence[Path]) -> list[nbformat.NotebookNode]:
    """The notebooks with their outputs. They are run one after another in an empty folder, without a network.

    One kernel runs all of them, since importing takes longer than the cells. The variables are reset before each notebook.
    """
    books = [nbformat.read(path, as_version=4) for path in paths]
    with TemporaryDirectory(prefix="notebooks-") as folder:
        # sockets in the folder, since another process could take a TCP port between its choice and its use
        files = {"connection_file": f"{folder}/kernel.json", "ip": f"{folder}/kernel"}
        own = KernelSpecManager(kernel_dirs=[])  # this Python's kernel, and not one that the user has installed by the same name
        kernel = KernelManager(kernel_name="python3", kernel_spec_manager=own, transport="ipc", **files)
        offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "IPYTHONDIR": f"{folder}/ipython", "MPLCONFIGDIR": f"{folder}/matplotlib"}
        kernel.start_kernel(cwd=folder, env={**os.environ, **offline})
        try:
            for book in books:
                book.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
                options = {"record_timing": False, "coalesce_streams": True, **dict.fromkeys(WAITS, PATIENCE)}
                client = NotebookClient(book, km=kernel, raise_on_iopub_timeout=True, **options)
                try:
                    client.execute()
                finally:
                    client.kc.stop_channels()
                del book.cells[0]
                _tidy(book)
        finally:
            kernel.shutdown_kernel(now=True)
    return books


def _tidy(book: nbformat.NotebookNode) -> None:
    """Numbers the cells as in a kernel of the notebook alone, and removes versions, temporary folders and progress bars, which depend on
    the machine."""
    book.metadata.language_info = {"name": "python"}
    for count, cell in enumerate((cell for cell in book.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            for kind, shown in output.get("data", {}).items():
                output.data[kind] = TEMPORARY.sub("a-temporary-folder", shown) if kind.startswith("text/") else shown


if __name__ == "__main__":
    for path, book in zip(BOOKS, executed(BOOKS), strict=True):
        nbformat.write(book, path)
