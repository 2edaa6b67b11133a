"""`data describe --past` lists every number of the past with its meaning, what is missing, and quantiles."""

import json
from dataclasses import replace

import numpy as np
import pytest

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


def test_the_command_lists_them(hyperctr, tmp_path):
    data = planted.write("drift", tmp_path / "data", scale=0.02)
    code, said, err = hyperctr("data", "describe", data, "--past", "links")
    assert code == 0, err
    assert "next_step.max" in said and "directed: the largest" in said and "24 numbers, read for" in said
    code, said, _ = hyperctr("data", "describe", data, "--past", "links", "--json")
    assert code == 0 and len(json.loads(said)["numbers"]) == 24
    code, said, _ = hyperctr("data", "describe", data, "--past", "nearest")
    assert code == 0 and "nearest_visual.max" in said and "next_step.max" not in said
    code, _, err = hyperctr("data", "describe", data, "--past", "none")
    assert code == 2 and "gives no numbers; choose counts, links or all" in err
    code, _, err = hyperctr("data", "describe", data, "--past", "al")
    assert code == 2 and "data.past" in err
