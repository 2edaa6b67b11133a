"""What every study has in common: it is an object of its own, named once, listed without torch, added in one file."""

import ast
import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

import hyperctr.studies
from hyperctr import config
from hyperctr.data import planted
from hyperctr.runs import parallel
from hyperctr.studies import STUDIES, bench, find
from hyperctr.studies.bench import Options

FILES = sorted(Path(hyperctr.studies.__file__).parent.rglob("*.py"))

MINE = '''"""Does a wider network help DIN?"""

from hyperctr.studies.claims import Claim, compare
from hyperctr.studies.study import POPULARITY, Numbers, Row, Study


def rows(setup, dataset):
    narrow = Row("narrow", "din", ("model.hidden=[2]",))
    return [POPULARITY, narrow, Row("wide", "din", over="narrow")]


def judge(scores):
    return [compare(Claim("a wide network is above a narrow one", ("wide",), ("narrow",)), scores.runs)]


STUDY = Study(
    name="din-width",
    title="DIN: width of the network",
    rows=rows,
    judge=judge,
    columns=Numbers(("Their shop",), {"narrow": (0.70,), "wide": (0.72,)}),
    base={"model": {"name": "din", "dim": 4, "hidden": [8, 6]}, "train": {"epochs": 1, "threads": 1}},
    ours="wide",
)
'''


# --- names ---------------------------------------------------------------------------------------------------------


def compared_names(source):
    """The comparisons in which a study's name stands, or of something that has a study's name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        begins = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("startswith")
        if begins or isinstance(node, ast.Compare | ast.MatchValue):
            text = ast.unparse(node)
            texts = {x.value for x in ast.walk(node) if isinstance(x, ast.Constant) and isinstance(x.value, str)}
            asks = any(part in text for part in ("bench.name", "study.name", "facts['bench']"))
            if texts & STUDIES.keys() or (asks and texts - {"bench"}):
                found.append(text)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_nothing_asks_for_a_study_by_its_name(path):
    assert compared_names(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    ['if bench == "marn-table2": pass', 'if bench.name == "x": pass', 'y = facts["bench"] in ("threads", "x")',
     'y = study.name.startswith("aqcl-")', 'match x:\n    case "layers":\n        pass'],
)  # fmt: skip
def test_a_comparison_would_be_found(line):
    assert compared_names(line)


def test_a_study_is_named_in_one_place():
    texts = [x.value for path in FILES for x in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(x, ast.Constant)]  # fmt: skip
    for name, study in STUDIES.items():
        assert study.name == name and study.title
        assert "-" not in name or texts.count(name) == 1, name


def test_the_list_of_studies_needs_no_torch():
    script = "import sys\nfrom hyperctr.cli.main import app\nsys.argv = ['hyperctr', 'bench', '--help']\n"
    script += "try:\n    app()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "False" and "marn-table5" in done.stdout


# --- a study of one's own --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return planted.write("drift", tmp_path_factory.mktemp("world") / "world", scale=0.03)


@pytest.fixture
def mine(tmp_path, stand_in):
    stand_in(lambda run, folder: parallel.train(config.to_toml(run), str(folder)))
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_file_of_at_most_40_lines_adds_a_study(mine, world, tmp_path, hyperctr):
    assert len(MINE.splitlines()) <= 40
    code, out, err = hyperctr("bench", f"{mine}:STUDY", "--data", world, "--seeds", "1", "--out", tmp_path / "out")
    assert code == 0, err
    assert "# DIN: width of the network, on planted-drift" in out and "| a wide network is above a narrow one |" in out
    (wide,) = [line for line in csv.DictReader((tmp_path / "out" / "table.csv").open()) if line["row"] == "wide"]
    assert wide["the paper: Their shop, AUC"] == "0.72" and wide["over"] == "narrow" and wide["n"] == "1"
    found = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [one["verdict"] for one in found["claims"]] == ["inconclusive"]  # one seed
    assert (tmp_path / "out" / "din-width.png").exists()
    (tmp_path / "out" / "report.md").unlink()
    code, again, err = hyperctr("report", tmp_path / "out")  # bench.json says where the study is
    assert code == 0 and again == out, err


def test_python_runs_a_study_of_one_s_own(mine, world, tmp_path):
    study = find(f"{mine}:STUDY")
    base = config.read_run(dict(study.base) | {"data": {"path": str(world), "history": 5}})
    found = bench.run(study, base, tmp_path / "out", Options(seeds=1, rows=["wide"]))
    assert [row["n"] for row in found["rows"]] == [0, 0, 1] and found["claims"][0]["verdict"] == "not tested"


def test_a_planted_study_makes_its_worlds_and_says_what_can_be_known(tmp_path, stand_in, hyperctr):
    stand_in(lambda run, folder: parallel.train(config.to_toml(run), str(folder)))
    words = ["--seeds", "1", "--scale", "0.06", "--set", "train.epochs=1", "--out", tmp_path / "out"]
    rows = ["--rows", "popularity in drift,paper: visual alone in drift"]
    code, out, err = hyperctr("bench", "hyperctr-planted", *words, *rows)
    assert code == 0, err
    assert [path.name for path in (tmp_path / "out" / "worlds").iterdir()] == ["drift-0.06-0"]
    known = json.loads((tmp_path / "out" / "worlds.json").read_text())["drift"]["0"]
    assert 0.5 < known["learnable"] <= 1 and 0.5 < known["ceiling"] <= 1
    assert "### Way to the best possible score" in out and "# HyperCTR on planted worlds" in out
    words[-1] = (tmp_path / "out").rename(tmp_path / "moved")
    code, _, err = hyperctr("bench", "hyperctr-planted", *words, *rows)
    assert code == 0 and "2 of 2 runs are done already, 0 to go" in err
    words[3] = "0.05"
    code, _, err = hyperctr("bench", "hyperctr-planted", *words, *rows)
    assert code == 2 and "of other settings; choose another --out" in err
