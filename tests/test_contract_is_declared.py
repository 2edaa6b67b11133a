"""Nothing guesses what a model, a wrapper or a configuration has: `hyperctr.batch` declares it, and isinstance asks."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("analysis", "cli", "evaluation", "experiments", "models", "referees", "runs", "serving", "studies", "training")
FILES = sorted(path for room in ROOMS for path in (ROOT / "hyperctr" / room).rglob("*.py"))
ALLOWED = {
    "hasattr(os, 'getloadavg')": "a function of the operating system",
    "hasattr(self._mine, 'tables')": "a thread asks whether it has been here before",
    "getattr(sys.modules.get(thing.__module__), '__file__', None)": "a module written at a prompt has no file",
}


def guesses(source: str) -> list[str]:
    """Find every `hasattr`, and every `getattr` of a name that is written down, in a source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
            fixed = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
            text = ast.unparse(node)
            if (node.func.id == "hasattr" or fixed) and text not in ALLOWED:
                found.append(f"line {node.lineno}: {text}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_guesses_what_a_model_has(path):
    assert guesses(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        'hasattr(model, "take_tower")',
        "hasattr(model, name)",
        'getattr(model, "tasks", ("click",))',
        'if tasks := getattr(type(run.model), "tasks"): pass',
    ],
)
def test_a_guess_is_found(source):
    assert len(guesses(source)) == 1


def test_columns_by_a_variable_name_are_no_guess():
    assert guesses("getattr(batch, name); isinstance(model, HasTower); getattr(self, f'present_{m}')") == []
