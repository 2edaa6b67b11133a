"""No arrow points up: who may import whom, read from the import statements, those inside functions too."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for package in ("graphs", "hyperctr") for path in (ROOT / package).rglob("*.py"))

# The house, floor by floor. A room imports rooms of lower floors and itself, never a neighbour on its own floor.
FLOORS = [
    ["graphs", "hyperctr.batch", "hyperctr.files", "hyperctr.strict"],
    ["hyperctr.layers", "hyperctr.evaluation", "hyperctr.presets"],
    ["hyperctr.referees"],  # which `hyperctr.models` finds by name
    ["hyperctr.models", "hyperctr.data", "hyperctr.reporting"],
    ["hyperctr.config"],
    ["hyperctr.hypergraphs"],
    ["hyperctr.training"],
    ["hyperctr.runs"],
    ["hyperctr.serving", "hyperctr.analysis", "hyperctr.experiments"],
    ["hyperctr.studies"],
    ["hyperctr.cli"],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
DOORS = {"hyperctr", "hyperctr.__main__"}  # the way in: they open rooms when asked, and no room imports them
TOP_LEVEL = {"__init__.py", "__main__.py", "batch.py", "config.py", "files.py", "strict.py"}
VAGUE = {"utils", "util", "helpers", "helper", "base", "common", "misc"}
GRAPHS_NEEDS = {"torch", "numpy", "scipy"}
LONGEST = 450


def imports(source: str, module: str, is_package: bool = False) -> list[tuple[int, str, bool]]:
    """Every import of a module: line, full name of what it imports, whether it runs when the module is imported."""
    found = []
    package = module.split(".") if is_package else module.split(".")[:-1]

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((node.lineno, alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*start, *([node.module] if node.module else [])])
            found.extend((node.lineno, f"{origin}.{alias.name}", at_import) for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            names = [x.value for x in node.args[:1] if isinstance(x, ast.Constant)]
            found.extend((node.lineno, str(name), at_import) for name in names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        checked_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, at_import and not inside and not checked_only)

    visit(ast.parse(source), True)
    return found


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def room_of(name: str) -> str | None:
    """The room that a module is in; None for the ways in, and for what is not ours."""
    return next((room for room in FLOOR if within(name, room)), None)


def arrows_up(source: str, module: str, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module, one line each."""
    wrong, here = [], room_of(module)
    for line, name, at_import in imports(source, module, is_package):
        there = room_of(name)
        if here and there and here != there and FLOOR[there] >= FLOOR[here]:
            wrong.append(f"{module}:{line} imports {name}: {there} is not below {here}")
        if here and there is None and name.split(".")[0] == "hyperctr" and name != "hyperctr.__version__":
            wrong.append(f"{module}:{line} imports {name}: that is the way in, no room")
        sibling = within(name, "hyperctr.models") and not within(name, _paper(module))
        if within(module, "hyperctr.models") and module != "hyperctr.models" and sibling:
            wrong.append(f"{module}:{line} imports {name}: one paper, one file; move the part to layers/")
        top = name.split(".")[0]
        known = top in sys.stdlib_module_names or top in GRAPHS_NEEDS or top in ("graphs", "hyperctr")
        lazily_only = within(module, "graphs.kernels.gpu")  # itself imported only for CUDA tensors
        if within(module, "graphs") and at_import and not known and not lazily_only:
            wrong.append(f"{module}:{line} imports {name}: import graphs needs torch, numpy and scipy alone")
    return wrong


def _paper(module: str) -> str:
    """The file of a paper, or its folder: hyperctr.models.din, or hyperctr.models.hyperctr for a part of it."""
    return ".".join(module.split(".")[:3])


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or not (Tarjan's strongly connected components)."""
    found, number, low, open_, stack = [], {}, {}, set(), []

    def visit(v: str) -> None:
        number[v] = low[v] = len(number)
        stack.append(v)
        open_.add(v)
        for w in sorted(edges[v]):
            if w not in number:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in open_:
                low[v] = min(low[v], number[w])
        if low[v] == number[v]:
            at = stack.index(v)
            found.append(sorted(stack[at:]))
            open_.difference_update(stack[at:])
            del stack[at:]

    for v in edges:
        if v not in number:
            visit(v)
    return [group for group in found if len(group) > 1]


def named(path: Path) -> tuple[str, bool]:
    """The module that a file is, and whether it is a package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return (".".join(parts[:-1]), True) if parts[-1] == "__init__" else (".".join(parts), False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_arrow_points_up(path):
    assert arrows_up(path.read_text(encoding="utf-8"), *named(path)) == []


def test_no_modules_import_each_other():
    modules = {named(path)[0]: path for path in FILES}
    edges = {}
    for module, path in modules.items():
        edges[module] = set()
        for _, name, _ in imports(path.read_text(encoding="utf-8"), *named(path)):
            while name and name not in modules:
                name = name.rpartition(".")[0]
            edges[module] |= {name} - {module, ""}
    assert circles(edges) == []


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_every_room_has_a_floor_and_the_top_level_holds_what_it_should():
    modules = {named(path)[0] for path in FILES}
    assert {module for module in modules if room_of(module) is None} == DOORS
    assert {path.name for path in (ROOT / "hyperctr").glob("*.py")} == TOP_LEVEL


def test_every_file_says_what_it_holds():
    assert [str(path.relative_to(ROOT)) for path in FILES if path.stem in VAGUE] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_long_file_says_why_it_is_long(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    reason = any("ong because" in line for line in lines[:10])
    assert len(lines) <= LONGEST or reason, f"{path.name} has {len(lines)} lines: split it, or say 'long because ...'"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("graphs.layers", "from hyperctr.batch import Batch"),
        ("graphs.layers", "def forward():\n    import hyperctr.data"),
        ("graphs.build", "from ..hyperctr import data"),
        ("graphs.draw", "import matplotlib"),
        ("graphs.draw", "class Picture:\n    import pandas as pd"),
        ("hyperctr.models.din", "from hyperctr import data"),
        ("hyperctr.models.din", "from ..training.fit import fit"),
        ("hyperctr.models.din", "from hyperctr.config import Train"),
        ("hyperctr.models.din", "from . import mian"),
        ("hyperctr.models.din", "from hyperctr.models import MODELS"),
        ("hyperctr.models.din", "from hyperctr.models.hyperctr.parts import pairs"),
        ("hyperctr.models.hyperctr.parts", "from hyperctr.models.din import DIN"),
        ("hyperctr.models.din", "import importlib\nimportlib.import_module('hyperctr.models.mian')"),
        ("hyperctr.layers.mlp", "from hyperctr.models.din import DIN"),
        ("hyperctr.layers.mlp", "from hyperctr.evaluation import metrics"),
        ("hyperctr.layers.embedding", "from hyperctr.data.items import Items"),
        ("hyperctr.layers", "import hyperctr.config"),
        ("hyperctr.layers.chunked", "from ..training.fit import fit"),
        ("hyperctr.training.fit", "if True:\n    from hyperctr.runs import train"),
        ("hyperctr.data.loader", "from hyperctr.models.hyperctr import HyperCTR"),
        ("hyperctr.data.loader", "from hyperctr.training.fit import fit"),
        ("hyperctr.runs.train", "from hyperctr.cli import main"),
        ("hyperctr.runs.train", "from hyperctr.analysis.audit import audit"),
        ("hyperctr.runs.train", "import hyperctr"),
        ("hyperctr.analysis.audit", "from hyperctr.experiments import sweep"),
        ("hyperctr.experiments.sweep", "from hyperctr.studies.bench import COLUMNS"),
        ("hyperctr.studies.mian.rows", "from hyperctr.cli import main"),
        ("hyperctr.files", "from hyperctr import config"),
    ],
)
def test_the_checker_sees_a_made_up_arrow(module, source):
    assert len(arrows_up(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("graphs.draw", "def draw():\n    import matplotlib"),
        ("graphs.layers", "from .hypergraph import Hypergraph"),
        ("hyperctr.models.din", "from hyperctr.batch import Batch\nfrom graphs import HGCN"),
        ("hyperctr.models.din", "from hyperctr.layers.embedding import Embed"),
        ("hyperctr.models.hyperctr.model", "from hyperctr.models.hyperctr.parts import pairs"),
        ("hyperctr.layers.mlp", "from graphs.dropout import Dropout"),
        ("hyperctr.layers.embedding", "from hyperctr.batch import Tables\nfrom hyperctr.layers import mlp"),
        ("hyperctr.data.loader", "from .interactions import Interactions"),
        ("hyperctr.__main__", "from hyperctr.cli.main import main"),
        ("hyperctr.cli.experiment", "def bench():\n    from hyperctr.studies import bench"),
        ("hyperctr.studies.mian.rows", "from hyperctr.studies import tables"),
        ("hyperctr.runs.train", "from hyperctr.models import MODELS\nfrom hyperctr.training.fit import fit"),
        ("hyperctr.config", "from hyperctr.models import MODELS"),
    ],
)
def test_the_checker_lets_arrows_down_pass(module, source):
    assert arrows_up(source, module) == []


def test_import_graphs_loads_torch_numpy_and_scipy_alone():
    if not (ROOT / "graphs" / "__init__.py").exists():
        pytest.skip("graphs is not written yet")
    heavy = [
        "dgl",
        "hyperctr",
        "hypernetx",
        "matplotlib",
        "networkx",
        "pandas",
        "polars",
        "pooch",
        "rich",
        "safetensors",
        "sklearn",
        "torch_geometric",
        "triton",
        "typer",
        "xgi",
    ]
    # torch itself may bring some of them in, so what counts is what graphs adds to it
    script = (
        "import sys, torch, numpy, scipy.sparse; before = set(sys.modules); import graphs; "
        f"print(*[name for name in {heavy} if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_the_config_reader_loads_no_torch():
    modules = "hyperctr.config, hyperctr.evaluation.metrics, hyperctr.experiments.sweep_report"
    script = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
