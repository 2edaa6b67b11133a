"""Every notebook runs from a clean kernel, and what is committed shows the pictures it makes."""

import json
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks not run: there is no nbformat")
nbclient = pytest.importorskip("nbclient", reason="notebooks not run: there is no nbclient")
pytest.importorskip("ipykernel", reason="notebooks not run: there is no ipykernel")

from jupyter_client import AsyncKernelManager  # noqa: E402
from jupyter_client.kernelspec import KernelSpecManager  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 600  # a cell may take, on however busy a machine
LIMIT = 400_000  # bytes of a notebook with its outputs


def run(notebook, folder: Path) -> None:
    """Run every cell in a new kernel of this interpreter, whatever kernels the machine has; an error is raised."""
    kernels = KernelSpecManager(kernel_dirs=[])  # leaves the one that ipykernel itself brings
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, km=manager, timeout=SECONDS, resources=resources).execute()


@pytest.fixture(autouse=True)
def _this_checkout(monkeypatch):
    """The kernel imports the packages of this checkout, on one thread."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def pictures(notebook) -> int:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_there_are_notebooks():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{n}-" for n in range(1, len(NOTEBOOKS) + 1)] and NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws_what_is_committed(path, tmp_path):
    pytest.importorskip("matplotlib", reason=f"{path.stem} not run: there is no matplotlib")
    pytest.importorskip("networkx", reason=f"{path.stem} not run: there is no networkx")
    notebook = nbformat.read(path, as_version=4)
    committed = pictures(notebook)
    run(notebook, tmp_path)
    assert pictures(notebook) == committed
    assert not list(tmp_path.iterdir()), "a notebook leaves no files behind"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_whole_and_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert pictures(notebook) >= 1
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run it from top to bottom"
    errors = [o for cell in code for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert not errors, "commit it without errors and warnings"
    assert path.stat().st_size < LIMIT
    assert all(not cell.metadata for cell in notebook.cells)
    assert set(json.loads(path.read_text(encoding="utf-8"))["metadata"]) == {"kernelspec", "language_info"}


def test_the_runner_uses_this_interpreter_and_raises_what_a_cell_raises(tmp_path):
    import sys

    cells = [nbformat.v4.new_code_cell("import sys, graphs; print(sys.executable, graphs.__file__)")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    run(notebook, tmp_path)
    assert notebook.cells[0].outputs[0].text.split() == [sys.executable, str(ROOT / "graphs" / "__init__.py")]
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        run(broken, tmp_path)
