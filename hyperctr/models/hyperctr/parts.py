"""Small parts of HyperCTR: interest, fusion (Eq. 6), readout, prediction (Eq. 7), and GCN for the ablation."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs import Hypergraph
from graphs.dropout import Dropout
from graphs.expand import clique
from hyperctr.batch import Batch
from hyperctr.layers.bodies import choose
from hyperctr.layers.recurrent import GRU, after_last
from hyperctr.layers.table import take_rows
from hyperctr.models.hyperctr.layout import Layout


class Interest(nn.Module):
    """User Interest Prediction, section 2.3.1: how much user u cares about one modality of item i.

    Eq. (10) multiplies a scalar by a vector. We read it as the trilinear score s = sum_c M_I[i]_c (W a)_c E_U[u]_c and
    f = sigmoid(s). Eq. (9) leaves the positive out of its denominator, and calls a bound that should rise a loss. We
    read it as the usual InfoNCE.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=False)  # W_UIP

    def forward(self, user: Tensor, item: Tensor, attribute: Tensor) -> Tensor:
        """Compute Eq. (10) before its sigmoid: user [n, d], item [n, d], attribute [n, ..., d] -> [n, ...]."""
        both = (user * item) @ self.linear.weight  # W^T (u * i): W is applied once per click, not once per attribute
        return (both.view(len(user), *[1] * (attribute.dim() - 2), -1) * attribute).sum(-1)

    def loss(self, user: Tensor, item: Tensor, attribute: Tensor, others: Tensor) -> Tensor:
        """Compute Eq. (9): the item's own attribute against attributes of other items.

        Args:
            user, item, attribute: [n, d] each. others: attributes of the same modality, of other items, [n, N, d].

        Returns:
            a number >= 0: log(1 + N) if all scores are equal; 0 for n = 0.
        """
        if not len(user):
            return user.new_zeros(())
        score = self(user, item, torch.cat([attribute[:, None], others], 1))  # [n, 1 + N]
        return F.cross_entropy(score, score.new_zeros(len(score), dtype=torch.long))


class Fusion(nn.Module):
    """T_U of E_t and E_g: W^T vec([E_t; 1] outer [E_g; 1]), Eq. (6), or a simpler way to combine them.

    `lowrank` is `outer` with W a sum of `rank` products, W_ijk = sum_r U_rik V_rjk.
    """

    def __init__(self, dim: int, kind: str = "outer", rank: int = 16):
        super().__init__()
        self.kind, self.dim = kind, dim
        if kind == "outer":
            self.linear = nn.Linear((dim + 1) ** 2, dim, bias=False)
        elif kind == "lowrank":
            self.u, self.v = (nn.Parameter(torch.empty(rank, dim + 1, dim)) for _ in range(2))
        elif kind in ("concat", "gate"):
            self.linear = nn.Linear(2 * dim, dim)

    def reset_parameters(self, identity: bool = True) -> None:
        """Start from E_t + E_g (the entries that multiply the 1) and small products; without `identity`, low rank only.

        The weights of the others are then as they were drawn.
        """
        d = self.dim
        if self.kind == "outer" and identity:
            weight = self.linear.weight.data.view(d, d + 1, d + 1).normal_(std=1 / d)
            weight[:, -1, -1] = 0.0
            weight[:, :-1, -1] = weight[:, -1, :-1] = torch.eye(d)
        elif self.kind == "lowrank":
            for factor in (self.u, self.v):
                nn.init.normal_(factor, std=(d * len(factor) ** 0.5) ** -0.5)

    def forward(self, temporal: Tensor, group: Tensor) -> Tensor:
        """Combine [R, d] and [R, d] into [R, d]; `outer` and `lowrank` are linear in each."""
        if self.kind == "sum":
            return temporal + group
        if self.kind == "concat":
            return self.linear(torch.cat([temporal, group], 1))
        if self.kind == "gate":
            gate = torch.sigmoid(self.linear(torch.cat([temporal, group], 1)))
            return gate * temporal + (1 - gate) * group
        u, g = F.pad(temporal, (0, 1), value=1.0), F.pad(group, (0, 1), value=1.0)
        if self.kind == "lowrank":
            return (torch.einsum("ni,rik->rnk", u, self.u) * torch.einsum("nj,rjk->rnk", g, self.v)).sum(0)
        return self.linear((u[:, :, None] * g[:, None, :]).flatten(1))


class Readout(nn.Module):
    """One vector from a node's own and its states in the group's and the modalities' hypergraphs, section 2.3.3.

    `linear` is E_g = Linear[E_U; Z_group; Z_1; ..; Z_Q], and for items e_i = Linear[M_I + A; Z_group; Z_1; ..; Z_Q].
    Without `own` it is of the states alone.
    """

    def __init__(self, dim: int, graphs: int, kind: str = "linear", own: bool = True):
        super().__init__()
        self.kind, self.own, self.parts = kind, own, own + graphs
        if kind == "linear":
            self.linear = nn.Linear(self.parts * dim, dim)
        elif kind == "attention":
            self.score = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1))

    def reset_parameters(self) -> None:
        """Start from the node's own vector and a small part of its states, which say nothing before training.

        Without the own vector, start from the mean of the states.
        """
        if self.kind != "linear":
            return
        d = self.linear.out_features
        if self.own:
            self.linear.weight.data[:, d:] *= 0.3
            nn.init.eye_(self.linear.weight.data[:, :d])
        else:
            self.linear.weight.data = torch.eye(d).repeat(1, self.parts) / self.parts

    def forward(self, own: Tensor, states: Tensor) -> Tensor:
        """Combine the vectors: [n, d] and [n, graphs * d] -> [n, d]."""
        z = torch.cat([own, states], 1) if self.own else states
        if self.kind == "linear":
            return self.linear(z)
        z = z.view(len(z), self.parts, -1)
        return z.mean(1) if self.kind == "mean" else (self.score(z).softmax(1) * z).sum(1)


class Prediction(nn.Module):
    """logit = MLP([T_U; e_i; T_U * e_i; c; u; a; a * e_i]) + w^T (T_U * e_i) + v^T (c * (T_U + e_i)) + z^T (a * e_i).

    Eq. (7), without its sigmoid. The MLP has three layers. Without a context vector c, further vectors u of the user,
    or the clicks a that the candidate attends to, their terms are left out. Without `product` so are T_U * e_i and all
    direct terms: MLP([T_U; e_i]) is Eq. (7) as printed.

    Args:
        dim: width of the vectors.
        hidden: widths of the first two layers.
        dropout: share of activations dropped after each of them.
        context: whether rows have a context vector c.
        own: width of what is read of the user beside T_U: an id vector, the state of a GRU.
        attended: whether rows have the clicks a.
        product: whether products of the vectors are read.
    """

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...],
        dropout: float,
        context: bool = False,
        own: int = 0,
        attended: bool = False,
        product: bool = True,
    ):
        super().__init__()
        self.user = nn.Linear(dim, hidden[0])  # the first layer's columns for T_U
        self.item = nn.Linear(dim, hidden[0], bias=False)  # and for e_i: W [T_U; e_i] = W_u T_U + W_i e_i
        self.both = nn.Linear(dim, hidden[0], bias=False) if product else None  # and for their product
        self.context = nn.Linear(dim, hidden[0], bias=False) if context else None  # and for c
        self.own = nn.Linear(own, hidden[0], bias=False) if own else None  # and for u
        self.attended = nn.Linear(2 * dim, hidden[0], bias=False) if attended else None  # and for [a; a * e_i]
        self.direct = nn.Parameter(torch.full((dim,), dim**-0.5)) if product else None  # w
        self.cross = nn.Parameter(torch.full((dim,), dim**-0.5)) if context and product else None  # v
        self.met = nn.Parameter(torch.ones(dim)) if attended and product else None  # z
        self.rest = nn.Sequential(
            nn.ReLU(), Dropout(dropout), nn.Linear(*hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden[1], 1)
        )

    @property
    def maps(self) -> list[nn.Linear]:
        """The parts of the first layer, in the order of what they read."""
        every = (self.user, self.item, self.both, self.context, self.own, self.attended)
        return [linear for linear in every if linear is not None]

    def forward(
        self,
        user: Tensor,
        item: Tensor,
        user_row: Tensor,
        item_row: Tensor,
        context: Tensor | None = None,
        own: Tensor | None = None,
        attended: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Score pairs (user_row, item_row) [B].

        Args:
            user: T_U [Q, d]. item: e_i [P, d]. user_row, item_row: numbers of the pairs' rows of either, [B].
            context: c [B, d]. own: u [Q, own]. attended: [a; a * e_i], [B, 2 d].

        Returns:
            The logits [B], and the input of the last linear layer [B, D2].
        """
        many = self.both is not None and user.is_cpu and len(user_row) > 32 * len(user)  # candidates per user
        more = None if context is None else self.context(context)
        if own is not None:
            of_row = take_rows(self.own(own), user_row)
            more = of_row if more is None else more + of_row
        if attended is not None:
            of_clicks = self.attended(attended)
            more = of_clicks if more is None else more + of_clicks
        logit, hidden = choose(self._plain_score, self._fast_score, many)(user, item, user_row, item_row, more)
        if self.cross is not None:
            logit = logit + (context * (take_rows(user, user_row) + take_rows(item, item_row))) @ self.cross
        if self.met is not None:
            logit = logit + attended.chunk(2, 1)[1] @ self.met
        return logit, hidden

    def _plain_score(
        self, user: Tensor, item: Tensor, user_row: Tensor, item_row: Tensor, more: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        both = None if self.both is None else take_rows(user, user_row) * take_rows(item, item_row)
        first = take_rows(self.user(user), user_row) + take_rows(self.item(item), item_row)
        if both is not None:
            first = first + self.both(both)
        hidden = self.rest[:-1](first if more is None else first + more)
        logit = self.rest[-1](hidden).squeeze(1)
        return logit if both is None else logit + both @ self.direct, hidden

    def _fast_score(
        self, user: Tensor, item: Tensor, user_row: Tensor, item_row: Tensor, more: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Use one matrix per user for all candidates: W_i e + W_b (T * e) = (W_i + W_b diag(T)) e."""
        before, last = self.rest[:-1], self.rest[-1]
        order = user_row.argsort(stable=True)
        rows = order.split(torch.bincount(user_row, minlength=len(user)).tolist())
        bias, direct = self.user(user), user * self.direct
        weight = self.item.weight.T + user[:, :, None] * self.both.weight.T  # [Q, d, D1]
        found = []
        for row, b, w, v in zip(rows, bias, weight, direct, strict=True):
            x = item[item_row[row]]
            found.append((before(torch.addmm(b if more is None else b + more[row], x, w)), x @ v))
        place = torch.empty_like(order).index_put((order,), torch.arange(len(order), device=order.device))
        hidden, direct = (torch.cat(parts).index_select(0, place) for parts in zip(*found, strict=True))
        return last(hidden).squeeze(1) + direct, hidden


class Ages(nn.Embedding):
    """One vector per half octave of the time from a click to the row: floor(2 log2(1 + age)), in the log's unit.

    >>> Ages(4).level(torch.tensor([0, 1, 2, 3, 7])).tolist()
    [0, 2, 3, 4, 6]
    """

    def __init__(self, dim: int):
        super().__init__(127, dim)  # 2 log2 of the largest int64 is below 126

    def forward(self, batch: Batch) -> Tensor:
        """Embed the ages of the clicks of the histories, [Q, T, d]; padding has arbitrary numbers."""
        return super().forward(self.level(batch.time[batch.query_row][:, None] - batch.histories.time))

    @staticmethod
    def level(age: Tensor) -> Tensor:
        """Return the level of each age, int64."""
        return (2 * (1 + age.clamp(min=0)).double().log2()).long()


class Recent(nn.Module):
    """The state of a GRU after the last click, whose states are trained to tell the next click from another one.

    The loss is that of DIEN (arXiv 1809.03672), Eq. (6); the other click is one of the batch, drawn.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.gru = GRU(dim, dim)

    def forward(self, clicks: Tensor, mask: Tensor, at: Layout | None = None) -> tuple[Tensor, Tensor | float]:
        """Read the clicks [Q, T, d], real where the mask [Q, T] is True.

        Args:
            at: where the clicks are, for the loss; None: no loss is wanted.

        Returns:
            the last states [Q, d], zero for an empty history; and the loss, 0 unless asked for.
        """
        if not clicks.shape[1]:
            return clicks.new_zeros(len(clicks), clicks.shape[2]), 0.0
        states = self.gru(clicks)
        return after_last(states, mask), 0.0 if at is None else next_click_loss(states, clicks, at.place, at.later)


def next_click_loss(states: Tensor, clicks: Tensor, place: Tensor, later: Tensor) -> Tensor:
    """Compute the mean of -log sigmoid <h_t, e_(t+1)> - log(1 - sigmoid <h_t, e'>) over clicks with a next one.

    Args:
        states: h, [Q, T, d]. clicks: e, [Q, T, d]; e' is a click of the batch, drawn for each.
        place: where the real ones are in [Q * T], [n]. later: those of them that follow another one, [pairs].

    Returns:
        2 log 2 where the states say nothing; 0 where no history has two clicks.
    """
    if not len(later):
        return states.new_zeros(())
    states, clicks = states.flatten(0, 1), clicks.flatten(0, 1)
    state, after = states[later - 1], clicks[later]  # [pairs, d] each
    other = clicks[place[torch.randint(len(place), (len(later),), device=place.device)]]
    return (F.softplus(-(state * after).sum(1)) + F.softplus((state * other).sum(1))).mean()


class GCN(nn.Module):
    """One layer of the paper's ablation, X' = ReLU(D^-1/2 (C + I) D^-1/2 X Theta); C counts shared hyperedges.

    Kipf & Welling, arXiv 1609.02907, on the clique expansion of the same hyperedges (`pairs`). As in Eq. (5), a node
    that shares no hyperedge gets zero.
    """

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.theta = nn.Linear(dim, dim, bias=False)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, graph: Hypergraph) -> Tensor:
        """Convolve nodes on a graph from `pairs`: [n, d] -> [n, d]."""
        y = self.drop(torch.relu(graph @ self.theta(x)))
        isolated = graph.by_node.indptr.diff() == 1  # one entry: the node itself
        return y.masked_fill(isolated[:, None], 0.0)


def pairs(h: Hypergraph) -> Hypergraph:
    """Build the normalised graph D^-1/2 (C + I) D^-1/2 of the nodes that share hyperedges, as a square matrix."""
    c = clique(h).tocoo()
    n = h.num_nodes
    row, column = (np.concatenate([c.coords[k], np.arange(n)]) for k in (0, 1))
    value = np.concatenate([c.data, np.ones(n)])
    degree = np.bincount(row, value, minlength=n) ** -0.5
    return Hypergraph.from_pairs(row, column, n, n, weight=value * degree[row] * degree[column])
