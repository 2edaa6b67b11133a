"""Everything that a command prints with --json, and every JSON file that it leaves, is strictly valid JSON."""

import importlib.util
import json
from pathlib import Path

import pytest
import typer

from hyperctr.cli.main import app
from hyperctr.data import planted

SIZES = (
    "model.name=hyperctr",
    "model.dim=8",
    "model.depth=1",
    "model.hidden=[8,8]",
    "train.epochs=1",
    "train.threads=1",
)
SHORT = tuple(word for key in SIZES for word in ("--set", key))
COMMON = tuple(word for key in SIZES if "depth" not in key for word in ("--set", key))
TICKETS = ("model.name=lt4rec", "model.hidden=[8,8]", "model.rounds=1", "train.epochs=1", "train.threads=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a world whose non-clicks were logged, so that a report has numbers that cannot be known."""
    home = tmp_path_factory.mktemp("json")
    planted.write("drift", home / "world", scale=0.03)
    planted.write("agree", home / "two", scale=0.03)
    return home


def commands(home):
    """The words of each command that has --json, in an order in which each finds what it reads."""
    world = ("--data", home / "world")
    aqcl = ("--set", "model.name=din", "--set", "wrapper.name=icl", "--set", "train.threads=1")
    few = ("--no-referees",)  # which other tests run
    found = {
        "data list": (),
        "data describe": (home / "world",),
        "data check": (home / "world",),
        "graph describe": world,
        "models": (),
        "plan": world,
        "train": (*world, *SHORT, "--out", home / "run"),
        "evaluate": (home / "run",),
        "audit": (home / "run", "--rows", "20", "--cuts", "2"),
        "explain": (home / "run", "--user", "1", "--item", "1", "--top", "2"),
        "sweep": (*world, *COMMON, "--every", "30d", "--depth", "1", "--jobs", "1", *few, "--out", home / "sweep"),
        "report": (home / "sweep",),
        "bench": (
            "table4",
            *world,
            "--set",
            "train.threads=1",
            "--seeds",
            "1",
            "--rows",
            "popularity",
            "--jobs",
            "1",
            "--out",
            home / "b",
        ),
        "export": (home / "tickets",),
        "search": (
            *world,
            *aqcl,
            "--over",
            "w=0.1,0.2",
            "--epochs",
            "1",
            "--trials",
            "1",
            *few,
            "--out",
            home / "search",
        ),
    }
    if importlib.util.find_spec("optuna") is None:
        del found["search"]
    return found


def strictly(text):
    """Parse JSON, and refuse the words NaN and Infinity, which JSON does not have."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_what_every_command_prints_and_leaves_is_json(home, hyperctr):
    tickets = [word for key in TICKETS for word in ("--set", key)]
    code, _, err = hyperctr("train", "--data", home / "two", *tickets, "--out", home / "tickets")
    assert code == 0, err
    for name, words in commands(home).items():
        code, out, err = hyperctr(*name.split(), *words, "--json")
        assert code == 0, (name, err)
        assert strictly(out) is not None, name
    left = [path for path in Path(home).rglob("*.json")]
    assert {"report.json", "bench.json"} <= {path.name for path in left}
    for path in left:
        strictly(path.read_text())
    report = strictly((home / "run" / "report.json").read_text())
    assert report["test"]["positive_auc"] is None  # no negatives are drawn where non-clicks were logged


def test_no_command_with_json_is_left_out(home):
    def with_json(group, before=()):
        for name, command in group.commands.items():
            if any("--json" in option.opts for option in command.params):
                yield " ".join((*before, name))
            if hasattr(command, "commands"):
                yield from with_json(command, (*before, name))

    assert set(with_json(typer.main.get_command(app))) == {*commands(home), "search"}
