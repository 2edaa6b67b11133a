"""Reading MIAN's attention: weights by name, effects of what is left out, their rank correlation, and the pictures."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from hyperctr import config
from hyperctr.analysis import mian_attention
from hyperctr.batch import History, Values
from hyperctr.data import planted
from hyperctr.data.clock import DAY
from hyperctr.layers.table import Table
from hyperctr.models import MODELS
from hyperctr.models.mian import PARTS, bounds
from hyperctr.runs.open import Opened, open_run
from hyperctr.runs.prepare import prepare
from hyperctr.runs.train import train

COLUMNS = ["case", "user", "item", "probability", "group", "place", "name", "value", "days", "weight", "effect"]


@pytest.fixture(scope="module")
def world():
    """A planted world with titles."""
    data = planted.planted("fields", scale=0.03).dataset
    titles = np.array([f"thing {k}" if k % 5 else "" for k in range(data.items.num_items)])
    return replace(data, items=replace(data.items, titles=titles))


def opened_of(world, name="mian", derive=("clicks",), **model):
    """A run whose weights are random and large; of the context, `clicks` tells of the user."""
    tables = {
        "data": {"path": "x", "history": 9, "derive": list(derive)}, "slices": {"count": 3},
        "model": {"name": name, **({"dim": 4, "hidden": [16, 12]} | model)}, "train": {"epochs": 1, "threads": 1},
    }  # fmt: skip
    ready = prepare(config.read_run(tables), world)
    torch.manual_seed(0)
    model = MODELS[name](ready.run.model, ready.tables).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.4)
    for module in model.modules():
        if isinstance(module, Table):
            nn.init.zeros_(module.weight[-1])
    return Opened(ready, model, {})


@pytest.fixture(scope="module")
def opened(world):
    return opened_of(world)


@pytest.fixture(scope="module")
def batch(opened):
    return mian_attention.cases(opened, 5)


@pytest.fixture(scope="module")
def reading(opened, batch):
    return mian_attention.read(opened, batch)


@torch.no_grad()
def test_every_weight_stands_beside_its_name(world, opened, batch, reading):
    frame, weights = reading.frame, opened.model.attention(batch)
    assert frame.columns == COLUMNS and frame["case"].unique().to_list() == [0, 1, 2, 3, 4]
    names = {"parts": PARTS, "user": ("user", *planted.USER, "clicks"), "context": tuple(planted.MOMENT)}
    for b in range(5):
        of_case = frame.filter(case=b)
        assert set(of_case["user"]) == {f"user {int(batch.user[b])}"}
        assert of_case["probability"][0] == pytest.approx(opened.model(batch).logit[b].sigmoid().item(), rel=1e-5)
        for group, found in names.items():
            things = of_case.filter(group=group)
            assert tuple(things["name"]) == found and things["place"].to_list() == [*range(1, len(found) + 1)]
            np.testing.assert_allclose(things["weight"], weights[group][b], rtol=1e-5)
        clicks, past = of_case.filter(group="clicks"), batch.histories
        count = int(past.mask[b].sum())
        latest = [int(x) for x in past.item[b][:count].flip(0)]
        assert [world.items.titles[k] or f"item {k}" for k in latest] == clicks["name"].to_list()
        np.testing.assert_allclose(clicks["weight"], weights["clicks"][b, :count], rtol=1e-5)
        ages = (batch.time[b] - past.time[b][:count].flip(0)) / DAY
        np.testing.assert_allclose(clicks["days"], ages)
        assert (np.diff(clicks["days"]) > 0).all() and clicks["value"][0].startswith("2023-")


def test_values_are_those_of_the_row(world, opened, batch, reading):
    gender = world.users.fields["gender"].codes[batch.user.numpy()]
    assert reading.frame.filter(name="gender")["value"].to_list() == [str(x) for x in gender]
    assert reading.frame.filter(name="hour")["value"].to_list() == [str(int(x)) for x in batch.context.codes[:, 0]]
    assert reading.frame.filter(name="clicks", group="user")["value"].to_list() == [
        str(int(x)) for x in batch.context.codes[:, 6]
    ]
    users = opened.prepared.tables.ids.num_users
    new = replace(
        batch, user=torch.full_like(batch.user, users), context=Values(torch.full_like(batch.context.codes, -1))
    )
    found = mian_attention.read(opened, new).frame
    assert set(found["user"]) == {"a new user"}
    assert set(found.filter(pl.col("group").is_in(["user", "context"]))["value"]) == {"unknown"}


@torch.no_grad()
def logit_without(opened, batch, b, group, place):
    """The logit of a row alone, from a batch in which a thing is missing from the start."""
    model, row, query = opened.model, torch.tensor([b]), batch.query[b : b + 1]
    past = History(batch.histories.item[query], batch.histories.mask[query], batch.histories.time[query])
    zero = torch.zeros(1, dtype=torch.long)
    columns = {name: getattr(batch, name)[row] for name in ("user", "item", "time", "context", "label")}
    one = replace(batch, **columns, query=zero, query_row=zero, histories=past, clicks_before=batch.clicks_before[row])
    if group == "context":
        one.context.codes[0, place] = -1
        return model(one).logit.item()
    if group == "user" and place == 7:
        one.context.codes[0, 6] = -1
        return model(one).logit.item()
    if group == "user":
        state = {name: x.clone() for name, x in model.state_dict().items()}
        codes = model.embed.user_fields.rows.clone()
        if place == 0:
            model.embed.user.weight.zero_()
        else:
            model.embed.user_fields.rows[:, place - 1] = model.embed.user_fields.num_embeddings - 1
        found = model(one).logit.item()
        model.load_state_dict(state)
        model.embed.user_fields.rows.copy_(codes)
        return found
    groups = model.groups(one)
    if group == "clicks":
        keep = torch.arange(groups.mask.shape[1]) != place
        mask = groups.mask & keep
        groups = replace(groups, mask=mask, clicks=groups.clicks * mask[..., None])
        return model.out(model.join(model.interact(groups)[0])[0]).item()
    parts, _ = model.interact(groups)
    score = torch.stack([
        torch.tanh(linear(r) @ w + bias)[0]
        for linear, r, w, bias in zip(model.gim.maps, parts, model.gim.vector, model.gim.bias, strict=True)
    ]).exp()  # fmt: skip
    left = [k for k in range(len(parts)) if k != place]
    joined = sum(score[k] * model.gim.maps[k](parts[k]) for k in left) / sum(score[k] for k in left)
    return model.out(model.top(joined)).item()


def test_an_effect_is_the_logit_minus_the_logit_without(opened, batch, reading):
    with torch.no_grad():
        logit = opened.model(batch).logit
    for line in reading.frame.iter_rows(named=True):
        expected = logit_without(opened, batch, line["case"], line["group"], line["place"] - 1)
        assert line["effect"] == pytest.approx(logit[line["case"]].item() - expected, abs=2e-5), line
    assert (reading.frame["effect"].abs() > 1e-3).mean() > 0.5


def test_reading_changes_nothing(opened, batch, reading):
    again = mian_attention.read(opened, batch)
    assert again.frame.equals(reading.frame)


def test_the_heat_map_is_the_weights_of_the_parts(opened, batch, reading):
    heat = reading.heat()
    assert heat.shape == (7, 5)
    np.testing.assert_allclose(heat, opened.model.attention(batch)["parts"].detach().numpy().T, rtol=1e-5)
    np.testing.assert_allclose(heat.sum(0), 1)


def test_the_picture_of_the_heat_map_ends_where_tanh_ends(reading):
    axes = reading.draw().axes[0]
    image = axes.images[0]
    assert (image.norm.vmin, image.norm.vmax) == bounds(7) and image.norm.vcenter == 1 / 7
    np.testing.assert_allclose(image.get_array(), reading.heat())
    words = [label.get_text() for label in axes.get_yticklabels()]
    assert [word.split("  ")[0] for word in words] == [mian_attention.WORDS[part] for part in PARTS]
    assert f"{reading.heat()[2, 1]:.2f}"[1:] in [text.get_text() for text in axes.texts]


def test_the_picture_of_a_case_names_what_it_shows(reading):
    figure = reading.draw_case(2, most=3)
    left = figure.axes[0]
    of_case = reading.frame.filter(case=2)
    clicks = of_case.filter(group="clicks")
    assert len(clicks) > 3
    assert len(left.patches) == len(of_case) - len(clicks) + 3
    words = " ".join(label.get_text() for label in left.get_yticklabels())
    for name in (*planted.USER, *planted.MOMENT, clicks["name"][0]):
        assert name in words
    assert clicks["name"][0] in words and f"{clicks['days'][0]:.1f} days ago" in words
    widths = [patch.get_width() for patch in figure.axes[1].patches]
    np.testing.assert_allclose(widths[:7], of_case.filter(group="parts")["effect"])


def test_faithfulness_is_the_mean_rank_correlation():
    def lines(case, group, weights, effects):
        return [(case, group, k + 1, "x", w, e) for k, (w, e) in enumerate(zip(weights, effects, strict=True))]

    columns = ["case", "group", "place", "name", "weight", "effect"]
    made = [
        *lines(0, "user", [0.5, 0.3, 0.2], [-9.0, 2.0, 0.5]),  # the same order, whatever the sign
        *lines(1, "user", [0.5, 0.3, 0.2], [0.1, 0.2, -0.3]),  # the opposite
        *lines(2, "user", [0.5, 0.3, 0.2], [0.3, 0.2, 0.1]),
        *lines(0, "clicks", [0.6, 0.4], [0.1, 0.2]),  # too few
        *lines(1, "clicks", [0.5, 0.3, 0.2], [0.1, 0.1, 0.1]),  # no order
    ]
    found = mian_attention.Reading(pl.DataFrame(made, columns, orient="row"), ()).faithfulness()
    assert found["group"].to_list() == ["clicks", "user"] and found["cases"].to_list() == [0, 3]
    assert np.isnan(found["correlation"][0]) and found["correlation"][1] == pytest.approx(1 / 3)


def test_means_are_over_cases_that_are_said_to_be_alike(reading):
    every = reading.mean()
    assert every.columns == ["group", "place", "name", "cases", "weight", "effect"]
    hour = reading.frame.filter(name="hour")
    line = every.row(by_predicate=pl.col("name") == "hour", named=True)
    assert line["cases"] == 5 and line["weight"] == pytest.approx(hour["weight"].mean())
    assert line["effect"] == pytest.approx(hour["effect"].abs().mean())
    assert every.filter(group="clicks")["name"].to_list()[:2] == ["click 1", "click 2"]
    assert every["group"].unique(maintain_order=True).to_list() == list(mian_attention.GROUPS)
    split = reading.mean(["winter", "summer", "winter", "winter", "summer"])
    line = split.row(by_predicate=(pl.col("by") == "summer") & (pl.col("name") == "hour"), named=True)
    assert line["cases"] == 2 and line["weight"] == pytest.approx(hour["weight"].to_numpy()[[1, 4]].mean())
    with pytest.raises(ValueError, match="by needs one value per case, 5 in all, got 2"):
        reading.mean(["winter", "summer"])


def test_cases_are_test_rows_drawn_by_the_seed(opened):
    log, test = opened.prepared.dataset.interactions, opened.prepared.split.test
    found = mian_attention.cases(opened)
    assert len(found) == 14 and torch.equal(found.item, mian_attention.cases(opened).item)
    assert not torch.equal(found.item, mian_attention.cases(opened, seed=1).item)
    rows = set(zip(log.user[test], log.item[test], log.time[test], strict=True))
    assert set(zip(found.user.tolist(), found.item.tolist(), found.time.tolist(), strict=True)) <= rows
    assert len(mian_attention.cases(opened, 10**6)) == len(test)


def test_a_prediction_is_read_by_ids(opened):
    at = planted.START + 40 * planted.DAY
    found = mian_attention.read(opened, mian_attention.case(opened, 3, "11", at, {"hour": 5}))
    assert set(found.frame["case"]) == {0} and set(found.frame["item"]) == {"thing 11"}
    assert found.frame.filter(name="hour")["value"].to_list() == ["5"]
    assert found.frame.filter(name="weekday")["value"].to_list() == ["unknown"]
    for user, item, says in ((99_999, 1, "the data has no user '99999'"), (1, "none", "the data has no item 'none'")):
        with pytest.raises(ValueError, match=says):
            mian_attention.case(opened, user, item)


def test_a_case_without_clicks_has_the_other_groups(opened):
    found = mian_attention.read(opened, mian_attention.case(opened, 3, 11, planted.START))
    assert found.frame["group"].unique(maintain_order=True).to_list() == ["parts", "user", "context"]
    assert found.frame["effect"].is_finite().all() and found.draw_case() is not None


def test_a_model_without_an_interaction_is_read_without_it(world):
    opened = opened_of(world, gim=False, icim=False)
    found = mian_attention.read(opened, mian_attention.cases(opened, 3))
    assert found.frame["group"].unique(maintain_order=True).to_list() == ["clicks", "user"]
    assert found.draw_case() is not None
    with pytest.raises(ValueError, match="a heat map shows the global attention, this model has model.gim=false"):
        found.draw()
    fewer = opened_of(world, iuim=False)
    found = mian_attention.read(fewer, mian_attention.cases(fewer, 3))
    assert found.heat().shape == (6, 3)
    image = found.draw().axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax) == bounds(6)


def test_data_without_times_have_no_ages(world):
    order = replace(world, interactions=replace(world.interactions, has_time=False))
    opened = opened_of(order, derive=())
    found = mian_attention.read(opened, mian_attention.cases(opened, 3)).frame.filter(group="clicks")
    assert found["days"].null_count() == len(found) > 0 and set(found["value"]) == {""}


def test_other_models_are_refused(world):
    opened = opened_of(world, "din")
    with pytest.raises(ValueError, match="only MIAN has this attention, this run's model is din"):
        mian_attention.read(opened, mian_attention.cases(opened, 3))


def test_the_command_reads_a_prediction(tmp_path, hyperctr):
    path = planted.write("fields", tmp_path / "world", scale=0.03)
    tables = {
        "data": {"path": str(path), "history": 9}, "model": {"name": "mian", "dim": 4, "hidden": [6]},
        "train": {"epochs": 1, "threads": 1},
    }  # fmt: skip
    train(config.read_run(tables), tmp_path / "run")
    words = ["explain", tmp_path / "run", "--user", "3", "--item", "11", "--top", "2"]
    code, out, err = hyperctr(*words, "--out", tmp_path / "why.svg")
    assert code == 0, err
    assert "user 3, item 11: click probability" in out and "parts: R_iuim" in out and "user: gender" in out
    assert (
        out.count("clicks: ") == 2 and "not an effect" in out and (tmp_path / "why.svg").read_text().startswith("<?xml")
    )
    code, out, err = hyperctr(*words, "--json")
    opened = open_run(tmp_path / "run")
    found = mian_attention.read(opened, mian_attention.case(opened, 3, 11)).frame
    assert [line["effect"] for line in json.loads(out)] == pytest.approx(found["effect"].to_list())
    more = config.read_run(tables | {"data": tables["data"] | {"past": "counts"}})
    train(more, tmp_path / "past")
    code, out, err = hyperctr("explain", tmp_path / "past", *words[2:], "--json")
    numbers = [line for line in json.loads(out) if line["group"] in ("numbers", "groups")]
    assert code == 0 and len(numbers) > 20 and {"rates", "item.rate", "session.shows"} <= {x["name"] for x in numbers}
    code, out, err = hyperctr(*words, "--out", tmp_path / "why.txt")
    assert code == 2 and "a picture is a .png, .svg or .pdf file" in err
