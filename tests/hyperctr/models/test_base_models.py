"""What the base models hold to beyond the contract: shared vectors, tables trained by rows, pairs that are learned."""

import pytest
import torch
import torch.nn.functional as F

from hyperctr.evaluation.metrics import auc
from hyperctr.layers.table import Table
from hyperctr.models import MODELS
from hyperctr.training.optim import coalesce, optimisers

BASE = ["lr", "fm", "wide_deep", "dcn", "deepfm", "xdeepfm", "din", "dien", "gru4rec"]


@pytest.mark.parametrize("name", BASE)
def test_clicks_and_candidate_have_the_same_vectors(ids, make, name, built):
    """One look-up of one table gives both."""
    model, batch, asked = built(name, ids), make(), []
    model.embed.item.register_forward_hook(lambda module, given, found: asked.append(given[0]))
    model(batch)
    (numbers,) = asked
    real = batch.histories.item[batch.histories.mask]
    wanted = torch.cat([batch.item, real])
    wanted[wanted >= 27] = 30  # unknown
    assert numbers[: len(wanted)].tolist() == wanted.tolist()  # a place without a click is not looked up


@pytest.mark.parametrize("name", BASE)
def test_large_tables_are_trained_row_by_row_to_the_same_end(rich, make, monkeypatch, name, built):
    def trained(large):
        monkeypatch.setattr("hyperctr.layers.table.LARGE", large)
        torch.manual_seed(0)
        model = built(name, rich).train()
        assert {
            table.sparse for table in (m for m in model.modules() if isinstance(m, Table)) if table.num_embeddings <= 31
        } == {large < 1}
        for _ in range(2):  # the same rows twice: then Adam's moments do not tell row by row from all rows
            adams, out = optimisers(model, 0.05), model(make(lengths=(4, 5, 3)))
            (F.binary_cross_entropy_with_logits(out.logit, make(lengths=(4, 5, 3)).label) + out.penalty).backward()
            coalesce(model)
            for adam in adams:
                adam.step()
            model.zero_grad()
        return model

    dense, sparse = trained(10**9), trained(0)
    for (n, p), q in zip(dense.named_parameters(), sparse.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4, msg=n)
    assert not any(table.weight[-1].any() for table in sparse.modules() if isinstance(table, Table))


@pytest.mark.parametrize("name", BASE)
def test_a_click_of_like_kind_is_learned_wherever_pairs_are_seen(name, ids, of_like_kind):
    """Two kinds of items; users click what is of the kind of their last clicks. Single fields cannot tell."""
    torch.manual_seed(0)
    small = {"lr": {}, "fm": {"dim": 4}}.get(name, {"dim": 4, "hidden": (16, 8), "dropout": 0.0})
    model = MODELS[name](MODELS[name].Config(**small), ids).train()
    adams, train, test = optimisers(model, 0.05), of_like_kind(600, 0), of_like_kind(400, 1)
    for _ in range(60):
        out = model(train)
        model.zero_grad()
        (F.binary_cross_entropy_with_logits(out.logit, train.label) + out.penalty).backward()
        coalesce(model)
        for adam in adams:
            adam.step()
    reached = auc(test.label.numpy(), model.eval()(test).logit.detach().numpy())
    assert reached < 0.6 if name == "lr" else reached > 0.95, reached


@pytest.mark.parametrize(
    ("name", "sizes", "says"),
    [
        ("dcn", {"version": 3}, "model.version must be 1 or 2, got 3"),
        ("dcn", {"depth": 0}, "model.depth must be at least 1, got 0"),
        ("xdeepfm", {"maps": (0,)}, "model.maps must be widths of at least 1"),
        ("din", {"attention": ()}, "model.attention must be widths of at least 1"),
        ("dien", {"auxiliary": -1.0}, "model.auxiliary must be a number, at least 0, got -1.0"),
        ("dien", {"auxiliary": float("nan")}, "model.auxiliary must be a number"),
        ("gru4rec", {"depth": 0}, "model.depth must be at least 1, got 0"),
    ],
)
def test_a_choice_out_of_range_is_named(name, sizes, says):
    with pytest.raises(ValueError, match=says):
        MODELS[name].Config(**sizes)
