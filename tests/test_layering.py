"""No arrow points up: who may import whom, read from the import statements, those inside functions too."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for package in ("graphs", "hyperctr") for path in (ROOT / package).rglob("*.py"))

# A module below the first name never imports one below the second.
FORBIDDEN = [
    ("graphs", "hyperctr", "graphs knows nothing of clicks"),
    ("hyperctr.models", "hyperctr.data", "a model reads a Batch, not data"),
    ("hyperctr.models", "hyperctr.fit", "a model does not train itself"),
    ("hyperctr.models", "hyperctr.config", "a model brings its own Config"),
    ("hyperctr.layers", "hyperctr.models", "parts know nothing of what is made of them"),
    ("hyperctr.layers", "hyperctr.data", "a part reads tensors, not data"),
    ("hyperctr.layers", "hyperctr.fit", "a part does not train itself"),
    ("hyperctr.layers", "hyperctr.config", "a part is told its sizes"),
    ("hyperctr.fit", "hyperctr.models", "the loop trains any model"),
    ("hyperctr.data", "hyperctr.models", "data stand below models"),
    ("hyperctr.data", "hyperctr.fit", "data stand below training"),
    ("hyperctr.config", "hyperctr.models", "the caller passes the models"),
    ("graphs", "hyperctr.cli", "nothing imports the command line"),
    ("hyperctr", "hyperctr.cli", "nothing imports the command line"),
    ("hyperctr", "hyperctr.studies", "studies stand above what they study"),
]
ALLOWED = {("hyperctr.__main__", "hyperctr.cli"), ("hyperctr.cli", "hyperctr.studies")}
VAGUE = {"utils", "util", "helpers", "helper", "base", "common", "misc"}
GRAPHS_NEEDS = {"torch", "numpy", "scipy"}


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


def arrows_up(source: str, module: str, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module, a line each."""
    wrong = []
    for line, name, at_import in imports(source, module, is_package):
        for above, below, why in FORBIDDEN:
            allowed = within(module, below) or (module, below) in ALLOWED
            if within(module, above) and within(name, below) and not allowed:
                wrong.append(f"{module}:{line} imports {name}: {why}")
        sibling = within(name, "hyperctr.models") and not within(name, module)
        if within(module, "hyperctr.models") and not is_package and sibling:
            wrong.append(f"{module}:{line} imports {name}: one paper, one file; move the part to layers/")
        top = name.split(".")[0]
        known = top in sys.stdlib_module_names or top in GRAPHS_NEEDS or top in ("graphs", "hyperctr")
        lazily_only = within(module, "graphs.kernels.gpu")  # itself imported only for CUDA tensors
        if within(module, "graphs") and at_import and not known and not lazily_only:
            wrong.append(f"{module}:{line} imports {name}: import graphs needs torch, numpy and scipy alone")
    return wrong


def named(path: Path) -> tuple[str, bool]:
    """The module that a file is, and whether it is a package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return (".".join(parts[:-1]), True) if parts[-1] == "__init__" else (".".join(parts), False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_arrow_points_up(path):
    assert arrows_up(path.read_text(encoding="utf-8"), *named(path)) == []


def test_every_file_says_what_it_holds():
    assert [str(path.relative_to(ROOT)) for path in FILES if path.stem in VAGUE] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("graphs.layers", "from hyperctr.batch import Batch"),
        ("graphs.layers", "def forward():\n    import hyperctr"),
        ("graphs.build", "from ..hyperctr import data"),
        ("graphs.draw", "import matplotlib"),
        ("graphs.draw", "class Picture:\n    import pandas as pd"),
        ("hyperctr.models.din", "from hyperctr import data"),
        ("hyperctr.models.din", "from ..fit import fit"),
        ("hyperctr.models.din", "from hyperctr.config import Train"),
        ("hyperctr.models.din", "from . import mian"),
        ("hyperctr.models.din", "from hyperctr.models import MODELS"),
        ("hyperctr.models.din", "import importlib\nimportlib.import_module('hyperctr.models.mian')"),
        ("hyperctr.layers.mlp", "from hyperctr.models.din import DIN"),
        ("hyperctr.layers.embed", "from hyperctr.data.items import Items"),
        ("hyperctr.layers", "import hyperctr.config"),
        ("hyperctr.layers.blocks", "from ..fit import fit"),
        ("hyperctr.fit", "if True:\n    from hyperctr import models"),
        ("hyperctr.data.loader", "from hyperctr.models.hyperctr import HyperCTR"),
        ("hyperctr.data.loader", "from hyperctr.fit import fit"),
        ("hyperctr.runs", "from hyperctr import cli"),
        ("hyperctr.report", "from hyperctr.studies.bench import COLUMNS"),
        ("hyperctr.studies.mian.rows", "from hyperctr import cli"),
        ("hyperctr.config", "import hyperctr.models"),
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
        ("hyperctr.models.din", "from hyperctr.layers.embed import Embed"),
        ("hyperctr.layers.mlp", "from graphs.dropout import Dropout"),
        ("hyperctr.layers.embed", "from hyperctr.batch import Tables\nfrom hyperctr.layers import mlp"),
        ("hyperctr.data.loader", "from .interactions import Interactions"),
        ("hyperctr.__main__", "from hyperctr.cli import main"),
        ("hyperctr.cli", "def bench():\n    from hyperctr.studies import bench"),
        ("hyperctr.studies.mian.rows", "from hyperctr.studies import compared"),
        ("hyperctr.runs", "from hyperctr.models import MODELS\nfrom hyperctr.fit import fit"),
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
    script = "import sys, hyperctr.config, hyperctr.metrics, hyperctr.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
