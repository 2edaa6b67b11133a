"""DropoutNet: some ids are strangers in a training step, and in evaluation none is."""

import pytest
import torch

from hyperctr.models.din import DIN
from hyperctr.models.dropoutnet import Config, DropoutNet


def base_of(tables, **changed):
    torch.manual_seed(0)
    model = DIN(DIN.Config(dim=4, hidden=(6, 5), attention=(4,), **{"dropout": 0.0, **changed}), tables)
    for p in model.parameters():
        torch.nn.init.normal_(p)
    with torch.no_grad():
        model.embed.user.weight[-1] = model.embed.item.weight[-1] = 0.0
    return model


def test_a_hidden_id_is_one_without_a_training_row(ids, make):
    base, batch = base_of(ids), make(lengths=[4] * 30)
    model = DropoutNet(base, Config(share=1.0), ids).train()
    drawn = []
    model._drawn = lambda ids, count: drawn.append(ids[ids % 2 == 0]) or ids % 2 == 0
    found = model(batch).logit
    user, item = drawn
    with torch.no_grad():
        for kind, hidden in (("user", user), ("item", item)):
            getattr(base.embed, kind).weight[hidden] = 0.0
    torch.testing.assert_close(found, base(batch).logit)


def test_a_quarter_of_users_and_of_items_is_hidden_and_nothing_stays_so(ids, make):
    base, batch = base_of(ids), make(lengths=[1] * 400)
    model = DropoutNet(base, Config(share=0.5), ids).train()
    before = {name: x.clone() for name, x in base.state_dict().items()}
    shares = []
    for _ in range(200):
        with model.draws.stream():
            columns = (batch.user, ids.ids.num_users), (batch.item, ids.ids.num_items)
            drawn = [(column, model._drawn(column, count)) for column, count in columns]
        for column, hidden in drawn:  # equal ids share a draw
            assert not set(column[hidden].tolist()) & set(column[~hidden].tolist())
        shares.append([column[hidden].unique().numel() / column.unique().numel() for column, hidden in drawn])
    assert torch.tensor(shares).mean(0).tolist() == pytest.approx([0.25, 0.25], abs=0.03)
    model(batch)
    assert all(torch.equal(x, before[name]) for name, x in base.state_dict().items())


def test_in_evaluation_and_with_nothing_to_hide_it_is_the_base(ids, make):
    base, batch = base_of(ids, dropout=0.5), make()
    wanted = base.eval()(batch).logit
    assert torch.equal(DropoutNet(base, Config(), ids).eval()(batch).logit, wanted)
    torch.manual_seed(1)
    wanted = base.train()(batch).logit
    torch.manual_seed(1)
    assert torch.equal(DropoutNet(base, Config(share=0.0), ids).train()(batch).logit, wanted)


def test_what_cannot_be_hidden_is_refused(ids):
    with pytest.raises(ValueError, match=r"wrapper.share must lie in \[0, 1\], got 1.5"):
        Config(share=1.5)
    with pytest.raises(ValueError, match="Linear must look users up in one table"):
        DropoutNet(torch.nn.Linear(2, 2), Config(), ids)
