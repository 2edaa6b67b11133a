"""The benchmark on planted worlds: its grid lies around what is planted, and its verdicts follow from its rows."""

import importlib.util
import sys
from pathlib import Path

import pytest

from hyperctr.data import planted as synthetic

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def planted():
    spec = importlib.util.spec_from_file_location("planted", ROOT / "benchmarks" / "planted.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["planted"]


def row(preset, name, seed, auc, way=0.5):
    return {"preset": preset, "row": name, "seed": seed, "auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01,
            "valid_auc": auc, "way": way}  # fmt: skip


def test_the_grid_of_widths_reaches_beyond_a_factor_four_on_both_sides(planted):
    assert synthetic.planted("fashion", scale=0.03).turnover == planted.TURNOVER
    assert (planted.NEAR, planted.FAR) == (("3d", "8d", "24d"), ("1d", "64d"))


@pytest.mark.parametrize(
    ("ways", "verdict"),
    [([0.90, 0.91, 0.92], "reproduced"), ([0.84, 0.91, 0.86], "inconclusive"), ([0.8, 0.81, 0.82], "contradicted")],
)
def test_the_share_of_the_way_is_judged_by_its_interval(planted, ways, verdict):
    rows = [row("drift", "all modalities", seed, 0.8, way) for seed, way in enumerate(ways)]
    assert planted.judge(planted.STUDIES["ceiling"], rows)[2] == verdict


def test_a_best_width_at_the_edge_of_the_grid_decides_nothing(planted):
    auc = {"1d": 0.6, "3d": 0.7, "8d": 0.75, "24d": 0.7, "64d": 0.6}
    rows = [row("fashion", width, seed, x + seed / 1000) for seed in range(3) for width, x in auc.items()]
    assert planted.judge(planted.STUDIES["width"], rows)[2] == "reproduced"
    for one in rows:
        one["valid_auc"] += 0.3 * (one["row"] == "1d")
    assert planted.judge(planted.STUDIES["width"], rows)[2] == "inconclusive"


def test_what_is_run_is_the_studies_rows_and_popularity_once_a_world(planted, tmp_path):
    both = [planted.STUDIES["ceiling"], planted.STUDIES["modalities"]]
    cells = planted.plan(both, 2, 0.03, tmp_path)
    singles = {f"{m} alone" for m in synthetic.MODALITIES}
    assert {key[1] for key in cells} == {"popularity", "all modalities"} | singles and len(cells) == 10
    assert [run.train.seed for key, (run, _) in cells.items() if key[1] == "visual alone"] == [0, 1]
    assert cells["drift", "visual alone", 0][0].data.modalities == ("visual",)
    assert len(list((tmp_path / "worlds").iterdir())) == 2
