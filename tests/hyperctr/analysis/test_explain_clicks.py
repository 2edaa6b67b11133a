"""A click left out is a log without it, wherever the row reads its user's own clicks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from opened_run import DIN, HYPERCTR, asked_of, opened_on, world
from torch import nn

from hyperctr.analysis import explain_clicks
from hyperctr.analysis.asked import score
from hyperctr.analysis.explain import explain
from hyperctr.batch import Output
from hyperctr.data.features.past.history import Latest
from hyperctr.data.features.past.source import Past
from hyperctr.data.loader import Loader
from hyperctr.runs.open import Opened

PAST = {
    "past": ["counts", "content", "links", "nearest"],
    "past_every": "q8",
    "derive": ["hour", "clicks", "since_last"],
}


@pytest.fixture(scope="module", params=["din", "hyperctr"])
def opened(request):
    model = DIN if request.param == "din" else HYPERCTR
    return opened_on(world(), model, data=PAST)


def busy_row(opened, least=12):
    """A test row whose user has some clicks before it, and whose item is linked with them."""
    log, past = opened.prepared.dataset.interactions, opened.prepared.loader.sources[-1]
    for k in opened.prepared.split.test[::-1]:
        asked = asked_of(opened, k)
        if int(asked.clicks.mask.sum()) > least and np.nanmax(past.parts[2].raw(asked.rows)) > 0:
            return asked
    raise AssertionError(f"no row of {len(log)}")


def without(opened, asked, event):
    """The logit by a loader of a log without an event; counts and links are made of the whole log."""
    loader, log = opened.prepared.loader, opened.prepared.dataset.interactions
    shorter = log.take(np.setdiff1d(np.arange(len(log)), [event]))
    latest = Latest.of(shorter.take(shorter.clicks()))
    kinds = explain_clicks.OF_CLICKS
    past = asked.past
    parts = tuple(replace(x, latest=latest) if isinstance(x, kinds) else x for x in past.parts)
    made = Loader(
        shorter, loader.history, None, opened.prepared.run.data.derive, opened.prepared.encoders,
        Past(parts, past.scores),
    )  # fmt: skip
    rows = replace(asked.rows, row=np.array([-1]))
    batch = made.make_batch(rows.user, rows.item, rows.time, np.zeros(1, np.float32), rows.query)
    return float(score(opened.model, batch).logit[0])


def test_a_click_left_out_is_a_log_without_it(opened):
    asked, log = busy_row(opened), opened.prepared.dataset.interactions
    found = explain_clicks.of_clicks(asked).frame.sort("place")
    own = np.flatnonzero((log.user == asked.user) & (log.time < asked.time) & (log.label == 1))[::-1]
    assert len(own) > opened.prepared.loader.history  # an older click takes the place of one that is left out
    assert found["place"].to_list() == list(range(1, min(50, len(own)) + 1))
    ids = opened.prepared.dataset.items.ids
    assert found["item"].to_list() == [str(ids[i]) for i in log.item[own[:50]]]
    np.testing.assert_allclose(found["time"], log.time[own[:50]] / 1e6)
    for place in (1, 2, 3, len(own[:50])):
        expected = without(opened, asked, own[place - 1])
        assert found["logit"][place - 1] == pytest.approx(expected, rel=1e-5, abs=2e-6)
    logit = score(opened.model, asked.batch).logit[0]
    np.testing.assert_allclose(found["effect"] + found["logit"], logit, rtol=1e-6, atol=2e-6)
    assert found["of_history"][8:].abs().max() < 1e-6 < found["of_history"][:8].abs().max()
    assert found["of_numbers"].abs().max() > 1e-3
    assert found["effect"].to_numpy() != pytest.approx(found["of_history"].to_numpy(), abs=1e-4)


def test_nothing_left_out_is_the_row_itself(opened):
    asked = busy_row(opened)
    whole = asked.clicks
    kept = [np.arange(int(whole.mask.sum()))] * 2
    context = explain_clicks.reread(asked, kept)
    for name in ("codes", "numbers"):
        for row in getattr(context, name):
            torch.testing.assert_close(row, getattr(asked.batch.context, name)[0], rtol=0, atol=1e-6, equal_nan=True)
    shorter = explain_clicks.histories(whole, kept, opened.prepared.loader.history)
    assert torch.equal(shorter.item[1], asked.batch.histories.item[0])
    assert shorter.length.tolist() == asked.batch.histories.length.tolist() * 2


def test_the_weights_are_those_of_the_attention_by_the_candidate():
    opened = opened_on(world(), HYPERCTR, data=PAST)
    asked, seen = busy_row(opened), []
    opened.model.attend.register_forward_hook(lambda module, given, found: seen.append((given[4], found)))
    found = explain_clicks.of_clicks(asked).frame.sort("place", descending=True)
    weight = found["weight"].drop_nulls().to_numpy()
    assert len(weight) == 8 and weight.sum() == pytest.approx(1, abs=1e-6) and np.ptp(weight) > 1e-3
    assert found.filter(found["weight"].is_not_null())["place"].to_list() == [8, 7, 6, 5, 4, 3, 2, 1]
    states, pooled = seen[0]
    torch.testing.assert_close(torch.tensor(weight).float() @ states[0], pooled[0], atol=1e-5, rtol=1e-4)
    assert explain_clicks.of_clicks(busy_row(opened_on(world(), DIN, data=PAST))).frame["weight"].null_count() > 8


class OneClick(nn.Module):
    """Two, if one item is in the history."""

    def __init__(self, item):
        super().__init__()
        self.item = item

    def forward(self, batch):
        past = batch.histories
        return Output(2.0 * ((past.item == self.item) & past.mask).any(1)[batch.query])


def test_where_one_click_decides_it_is_found():
    opened = opened_on(world(), DIN)
    log = opened.prepared.dataset.interactions
    asked = asked_of(opened, next(
        k for k in opened.prepared.split.test[::-1]
        if len(set(asked_of(opened, k).batch.histories.item[0].tolist())) == 8
    ))  # fmt: skip
    deciding = int(asked.batch.histories.item[0, 3])
    found = explain_clicks.of_clicks(replace(asked, model=OneClick(deciding)))
    assert found.frame["item"][0] == str(opened.prepared.dataset.items.ids[deciding])
    assert found.frame["effect"].to_list() == [2.0] + [0.0] * 7 and found.notes == ()
    assert not found.reads and not found.adds and len(log)
    still = explain_clicks.of_clicks(replace(asked, model=OneClick(-1)))
    assert len(still.notes) == 1 and still.notes[0].startswith("no click moves the logit")


def test_types_are_shown_and_a_user_without_clicks_is_said_to_have_none():
    data = world()
    log = data.interactions
    kind = 1 + np.arange(len(log)) % 3
    opened = opened_on(replace(data, interactions=replace(log, type=kind)), DIN)
    asked = asked_of(opened, opened.prepared.split.test[-1])
    found = explain_clicks.of_clicks(asked)
    own = np.flatnonzero((log.user == asked.user) & (log.time < asked.time) & (log.label == 1))[::-1][:8]
    assert found.frame.sort("place")["type"].to_list() == kind[own].tolist() and found.adds
    assert "type" in next(iter(found.tables(3)))[1]
    early = explain_clicks.of_clicks(asked_of(opened, 0))
    assert not len(early.frame) and not [*early.tables(5)]
    assert early.notes == (f"user {log.user[0]} had no click before: there is none to leave out",)


def test_many_clicks_are_scored_in_several_calls(monkeypatch):
    opened = opened_on(world(), DIN, data=PAST)
    asked = busy_row(opened)
    whole = explain_clicks.of_clicks(asked).frame
    monkeypatch.setattr(explain_clicks, "AT_ONCE", 5)
    several = explain_clicks.of_clicks(asked).frame
    np.testing.assert_allclose(several.sort("place")["effect"], whole.sort("place")["effect"], atol=2e-6)


def test_an_explanation_has_the_clicks_of_a_model_without_hypergraphs():
    opened = opened_on(world(), DIN)
    asked = asked_of(opened, opened.prepared.split.test[-1])
    user, item = opened.prepared.dataset.users.ids[asked.user], opened.prepared.dataset.items.ids[asked.item]
    found = explain(Opened(opened.prepared, opened.model, {}), user, item, np.datetime64(asked.time, "us"))
    assert not len(found.frame) and len(found.clicks.frame) == 8
    tables = [table for tables, _ in found.parts(3) for table in tables]
    assert len(tables) == 1 and len(tables[0][2]) == 3
    notes = " ".join(note for _, notes in found.parts(3) for note in notes)
    assert "the run reads no numbers of the past" in notes and "the run reads no links" in notes
    assert len(found.draw().axes[0].patches) == 7
