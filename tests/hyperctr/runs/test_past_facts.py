"""`data describe --past` lists every number of the past with its meaning, what is missing, and quantiles."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import past_worlds
from hyperctr.data import planted
from hyperctr.runs.past_facts import meaning, past_facts


@pytest.fixture(scope="module")
def world():
    return planted.planted("fields", scale=0.03).dataset


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("has_time", [True, False])
def test_every_number_has_a_meaning_of_its_own(world, logged, has_time):
    log = replace(world.interactions, logged_non_clicks=logged, has_time=has_time)
    facts = past_facts(replace(world, interactions=log))
    says = [number["meaning"] for number in facts["numbers"]]
    assert len(set(says)) == len(says) > 40 and facts["microseconds"] > 0
    assert any(text.startswith("hours" if has_time else "steps") for text in says)
    assert any("click rate" in text for text in says) == logged
    for number in facts["numbers"]:
        assert 0 <= number["missing"] <= 1
        if number["missing"] < 1:
            assert number["p10"] <= number["median"] <= number["p90"]


def test_numbers_are_those_of_the_rows():
    """The first click of a user has no last row, and the user's earlier rows are their log."""
    dataset = planted.planted("drift", scale=0.02).dataset
    facts = {number["name"]: number for number in past_facts(dataset, "counts")["numbers"]}
    assert 0 < facts["user.since_last"]["missing"] < 0.1 and facts["user.shows"]["missing"] == 0
    assert 0 < facts["user.rate"]["p10"] < facts["user.rate"]["p90"] < 1
    assert np.log1p(len(dataset.interactions)) > facts["user.shows"]["p90"] > 1
    assert meaning("past.user*item.not_clicked", True) == "rows without a click by user*item"


STRONGEST = {
    "rates": "item.rate_7d", "age": "item.since_first", "recency": "item.since_last",
    "repeats": "user*item.clicks", "co-occurrence": "like.mean", "order": "next.last",
}  # fmt: skip


@pytest.mark.parametrize(("signal", "expected"), STRONGEST.items())
def test_the_number_that_tells_the_clicks_of_a_world_has_the_auc(signal, expected):
    facts = past_facts(past_worlds.world(signal), "all")["numbers"]
    far = {number["name"]: abs(number["auc"] - 0.5) for number in facts if number["auc"] is not None}
    assert far[expected] > max(far.values()) - 0.001 > 0.08


def test_the_command_lists_them(hyperctr, tmp_path):
    data = planted.write("drift", tmp_path / "data", scale=0.02)
    code, said, err = hyperctr("data", "describe", data, "--past", "links")
    assert code == 0, err
    assert "AUC alone" in said and "next_step.max" in said and "directed: the largest" in said
    assert "24 numbers, read for" in said
    code, said, _ = hyperctr("data", "describe", data, "--past", "links", "--json")
    assert code == 0 and len(json.loads(said)["numbers"]) == 24
    code, said, _ = hyperctr("data", "describe", data, "--past", "nearest")
    assert code == 0 and "nearest_visual.max" in said and "next_step.max" not in said
    code, _, err = hyperctr("data", "describe", data, "--past", "none")
    assert code == 2 and "gives no numbers; choose counts, links or all" in err
    code, _, err = hyperctr("data", "describe", data, "--past", "al")
    assert code == 2 and "data.past" in err
