"""Classes and functions from outside the package: found by file or module, and every mistake is one clear line."""

import pytest

from hyperctr.models import outside

MINE = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass(frozen=True)
class Mine:
    width: int = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_a_class_of_a_file_is_loaded_once_and_again_when_the_file_has_changed(here):
    mine = outside.load("mine.py:Mine", "model.name")
    assert mine().width == 3 and outside.load("mine.py:Mine", "model.name") is mine
    assert outside.load(f"{here}/mine.py:Mine", "model.name") is mine
    before = outside.source_digest(mine)
    (here / "mine.py").write_text(MINE.replace("3", "4"))
    edited = outside.load("mine.py:Mine", "model.name")
    assert edited().width == 4 and outside.source_digest(edited) != before


def test_a_module_is_found_by_its_name(here):
    package = here / "package_of_a_test"
    package.mkdir()
    (package / "models.py").write_text(MINE)
    assert outside.load("package_of_a_test.models:Mine", "model.name")().width == 3
    assert outside.load("collections:OrderedDict", "model.name").__name__ == "OrderedDict"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yours.py:Mine", "model.name: there is no file yours.py"),
        ("mine.py:Mein", "model.name: mine.py has no Mein, did you mean Mine?"),
        ("mine.py:", 'model.name must be like "mine.py:Mine" or "package.module:Mine", got "mine.py:"'),
        (":Mine", "model.name must be like"),
        ("no_such_package.models:Mine", "model.name: no_such_package.models cannot be imported: ModuleNotFoundError"),
        ("broken.py:Mine", "model.name: broken.py cannot be imported: NameError: name 'nothing' is not defined"),
        ("torn.py:Mine", "model.name: torn.py cannot be imported: SyntaxError"),
    ],
)
def test_a_mistake_is_named(here, name, message):
    (here / "broken.py").write_text("nothing\n")
    (here / "torn.py").write_text("def\n")
    with pytest.raises(ValueError) as error:
        outside.load(name, "model.name")
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
