"""HyperCTR: Click-Through Rate Prediction with Multi-Modal Hypergraphs (CIKM 2021, arXiv 2109.02398).

A user has two vectors. One comes from attention over the own clicks, within and across time slices (Eq. 1-4). The other
comes from a convolution over the user-interest hypergraphs of the slice before (Eq. 5). A three-layer network (Eq. 7)
reads their outer product (Eq. 6) and the item's vector, which comes from the item-homogeneous hypergraphs. The loss is
the cross entropy (Eq. 8).

Section 2.2.1 makes E_U and the item inputs of "metadata and profiles". Here E_U[u] is the user's id vector plus one
vector per column of the profile, and M_I[i] the item's id vector plus one per column of the metadata, so X^(0) of the
hypergraphs has them too.

Two presets: `hyperctr-paper` is the paper's model, `hyperctr-best` the one that works. Both have the time slices, the
hypergraphs of slices and modalities, and Eq. (1)-(8). tests/papers/test_hyperctr_paper.py has the first as loops.

What is not the paper's, and `hyperctr-paper` leaves out (in brackets: the key, and the reason):
- Eq. (7) also reads the product T_U * e_i, in its network and as a direct term (`interaction`: a network on the two
  vectors side by side needs far more data to learn it).
- Biases b_u + b_i and of every value of a column are added to the logit; b_i starts at the log odds of the item's
  training rows (`bias`: activity and popularity explain most where non-clicks are logged, and vectors learn them only
  by overfitting; Adam would need tens of epochs to reach the log odds).
- X^(0) is added to the output of Eq. (5) (`residual`: a node in no hyperedge, for which Eq. (5) gives zero, is then
  read as its input). E_g reads the user's own vector beside the states, and Eq. (7) the id vector u of a user with a
  profile, which it cannot tell apart in E_U (`own`). The paper's Figure 3 has the target item's embedding beside its
  states, so e_i reads it in both.
- Attention normalises before each part and not after (`norm`), and E_t is the mean over slices and not the output at
  the latest (`across`): otherwise modality vectors dominate id vectors, and the planted world is learned half as well.
  The age of a slice has a vector (`age`).
- Attention, fusion and readout start as the identity. Beside columns, ids, ages and modalities start at a tenth of
  their usual size: else the network fits single users and items before the weights of columns, near zero at first, are
  learned (`start`).
- Context (hour, device, page): one vector c per row, the sum over the columns, enters the network of Eq. (7), and as
  direct terms the products of c with T_U + e_i, and of the columns' vectors with one another (`context`).
- Behaviour types, which the paper names but never uses: a type has one weight, learned from 1 on or given, as the value
  of an incidence, and a vector that is added to the click in attention (`types`). A pair that is clicked more than once
  in a slice has the type of its last click. The GCN of the ablation reads no types.
- A share of the ids is hidden in training, which trains the vector of users and items without a training row
  (`id_dropout`), and of the activations (`dropout`).

What `hyperctr-best` alone has:
- Attention over the clicks: Eq. (7) also reads the clicks of the history, weighed by the candidate and by their age,
  and their product with e_i, also as a direct term (`attend`; DIN, MARN).
- A second branch with a cross entropy of its own, on all fields and the mean of the clicks, or on columns and numbers
  alone; the logit is the mean of both (`branch`).
- The state of a GRU over the clicks that is trained to tell the next one (`gru`; DIEN).
- What the clicked items are by now: how often and how long ago all users clicked them, at the start of the row's slice,
  as levels; with the clicks of attention and GRU, and in the second branch (`statistics`; MARN's, which has the
  candidate's too).
- The words of titles as tags of the items (`data.titles`), in M_I as any column.
- Numbers and links of the past (`data.past`). Links are entries of the operator of Eq. (5) between the candidate and
  the clicks, read one by one, with one hyperedge per user over the whole past and not per slice; half of them have a
  direction: how often one item came soon after the other.

Where both differ from the paper, or read it:
- Section 2.2.1 adds matrices of shapes (n, d), (l, d), (k, d). We add, for each click, the user's, the item's and the
  mean of the item's modality vectors. The clicks of a slice become one vector as their mean after attention, and a user
  without clicks has the own vector and a learned constant.
- A row at time t in slice n reads the hypergraphs of slices before n only. The own clicks of slice n strictly before t
  form a last, open slice of the attention. The paper includes all of slice n, and so the label. Only under the papers'
  random split a row also reads the hypergraphs of its own slice, without its own click.
- A node keeps the state of the last slice in which it was active. By default only the latest slice is propagated with
  gradients; states of older slices come from a cache, which is renewed when training or evaluation begins.
- Attention reads the last `slices` closed slices, and `clicks` clicks of each, of the history in the batch.
- The nodes of the users' hypergraphs are users; in Definition 2 the item of a hyperedge is a node too. W of Definition
  1 is the number of equal hyperedges, as the paper does not say how it is set. The convolutions of users and of items
  meet in Eq. (7) alone; section 2.3.3 calls them interdependent, without an equation.
- Eq. (6) places W after the outer product, and appends the 1 to both vectors; otherwise the 1 would be useless.
- Eq. (7) ends in a sigmoid and Eq. (8) applies another, without the minus sign. Here: one sigmoid, negative
  log-likelihood.
- Eq. (9) and (10) as printed have no consistent shapes; our reading is at `Interest`. Which clicks make hyperedges of a
  modality is decided before the training, on id and modality vectors alone (`hyperctr.training.interests`), or renewed
  with the cache in joint mode. The threshold is on each click, not on the mean over a user's clicks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs import HGCN
from hyperctr.batch import Batch, Features, JointInterests, Output, Tables, TrainingPlan
from hyperctr.layers.attention import Relevance
from hyperctr.layers.embedding import placed
from hyperctr.layers.fusion import ClickLevels
from hyperctr.layers.mlp import Linear
from hyperctr.layers.table import Rows, take_rows
from hyperctr.models.hyperctr.attention import TemporalAttention
from hyperctr.models.hyperctr.branch import FieldsBranch, NumbersBranch
from hyperctr.models.hyperctr.config import Config
from hyperctr.models.hyperctr.fields import Fields, TypeWeights, check_types
from hyperctr.models.hyperctr.layout import Layout, slice_of
from hyperctr.models.hyperctr.parts import GCN, Ages, Fusion, Interest, Prediction, Readout, Recent, pairs
from hyperctr.models.hyperctr.propagation import Propagation


@dataclass(frozen=True)
class Sides:
    """What Eq. (7) reads of the rows of a batch, for Q queries and P distinct pairs of an item and a slice.

    Attributes:
        fused: T_U, [Q, d].
        own: the user's id vector, where profiles are added to it, and the state of the GRU, [Q, own]; None without.
        item: e_i, [P, d]. of_row: the pair of each row, [B].
        context: c, [B, d]; None without one.
        attended: the clicks weighed by the candidate, and their product with e_i, [B, 2 d]; None without `attend`.
        statistics: of the clicks, [Q, T, width]; None without `statistics`.
        bias: b_u + b_i, the weights of columns and the products of pairs of context columns, [B]; None without any.
        penalty, logs: as in `Output`.
    """

    fused: Tensor
    own: Tensor | None
    item: Tensor
    of_row: Tensor
    context: Tensor | None
    attended: Tensor | None
    statistics: Tensor | None
    bias: Tensor | None
    penalty: Tensor | float
    logs: dict[str, float]


SMALL = 0.1  # of their usual first values: ids, ages and modalities of a model that reads columns


class HyperCTR(nn.Module):
    """HyperCTR, arXiv 2109.02398.

    Args:
        config: sizes.
        tables: numbers of users and items, modality features, and the sliced hypergraphs.

    Raises:
        ValueError: the tables have no hypergraphs, or hypergraphs that leak with this propagation.
    """

    Config = Config
    reads = frozenset({"slices"})
    tasks = ("click",)

    @classmethod
    def plan(cls, config: Config, plan: TrainingPlan) -> TrainingPlan:
        """Return the plan in which several batches share a propagation."""
        typed = config.types and config.conv == "hgcn"
        shared = config.batches_per_graph
        return replace(plan, batches_per_graph=shared, typed_hypergraphs=typed, statistics=config.statistics)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        d, ids, items, fields = config.dim, tables.ids, tables.modalities, tables.fields
        slices, interests, self.config = tables.graphs.slices, tables.graphs.interests, config
        if slices is None:
            raise ValueError("HyperCTR needs time-sliced hypergraphs: build them with hyperctr.hypergraphs")
        if slices.own and slices.target_edge == "exclude" and config.propagation == "sampled":
            raise ValueError(
                'model.propagation = "sampled" cannot leave out the own clicks of the random split: choose "slice" or '
                '"full", or slices.target_edge = "keep"'
            )
        types = tables.clicks.num_types if config.types else 0
        check_types(config, types)
        self.modalities = list(items.features)
        graphs = len(slices.names)
        # E_U and M_I; the last row: any unknown one
        self.user = Rows(ids.num_users + 1, d)
        self.item = Rows(ids.num_items + 1, d)
        self.user_bias = self.item_bias = None
        if biased := config.bias != "none":
            self.user_bias = Rows(ids.num_users + 1, 1)
            self.item_bias = Rows(ids.num_items + 1, 1)
        self.profile, self.metadata, self.context = (  # parts of E_U, of M_I, of Eq. (7)
            Fields(columns, d, biased) if config.fields and len(columns) and wanted else None
            for columns, wanted in ((fields.user, True), (fields.item, True), (fields.context, config.context))
        )
        self.project = nn.ModuleDict({m: nn.Linear(x.shape[1], d) for m, x in items.features.items()})  # P_m
        self.temporal = TemporalAttention(config, types)
        # Theta of users' and of items' hypergraphs: one stack of layers per hypergraph, shared by all slices
        convs = nn.ModuleList(nn.ModuleList(self._stack() for _ in range(graphs)) for _ in range(2))
        weights = TypeWeights(types, config.type_weights) if slices.typed else None
        self.states = Propagation(config, slices, convs, pairs if config.conv == "gcn" else None, weights)
        self.read_user = Readout(d, graphs, config.read, config.own == "both")
        self.read_item = Readout(d, graphs, own=config.own != "none")
        self.fusion = Fusion(d, config.fusion, config.rank)
        self.attend = Relevance(d, d, d) if config.attend else None
        self.ages = Ages(d) if config.attend and config.age else None
        self.recent = Recent(d) if config.gru else None
        product, own = config.interaction == "product", d * (self.profile is not None and config.own == "both")
        self.predict = Prediction(
            d, config.hidden, config.dropout, self.context is not None, own + d * config.gru, config.attend, product
        )
        for m, x in items.features.items():  # may be memory-mapped; the unknown item has none
            self.register_buffer(f"feature_{m}", x, persistent=False)
            self.register_buffer(f"present_{m}", F.pad(items.present[m], (0, 1)), persistent=False)
        self.register_buffer("seen_user", F.pad(ids.seen_user, (0, 1)))
        self.register_buffer("seen_item", F.pad(ids.seen_item, (0, 1)))
        grid, count = slices.grid, len(slices) + 1  # and the open slice; after the last quantile there is none
        starts = torch.from_numpy(grid.starts(count if grid.edges is None else min(count, len(grid))))
        self._host_starts = starts
        self.register_buffer("starts", starts, persistent=False)  # a later log has more slices, the same weights
        self._interests, joint = interests, isinstance(interests, JointInterests)
        self.interest = Interest(d) if joint else None
        self.reset_parameters()
        if config.bias == "log_odds" and tables.priors.item_log_odds is not None:
            with torch.no_grad():
                self.item_bias.weight[:-1, 0] = tables.priors.item_log_odds
        if interests is not None and not joint:  # learned before: training starts from them
            self.load_state_dict(interests.weights, strict=False)
        if config.start == "identity" and (self.profile or self.metadata or self.context):
            with torch.no_grad():
                maps = (linear.weight for linear in self.project.values())
                ages = () if self.temporal.age is None else (self.temporal.age.weight,)
                for weight in (self.user.weight, self.item.weight, *ages, *maps):
                    weight.mul_(SMALL)
        self.levels = ClickLevels(tables) if config.statistics else None
        width = self.levels.width if config.statistics else 0
        self.of_levels = Linear(width, d, bias=False) if config.statistics else None
        self.branch = None
        if config.branch == "fields":
            self.branch = FieldsBranch(tables, d, config.hidden, config.dropout, width)
        elif config.branch == "numbers" and any(len(part) for part in (fields.user, fields.item, fields.context)):
            self.branch = NumbersBranch(fields, config.hidden, config.dropout)

    def _stack(self) -> nn.ModuleList:
        """Build Theta^(0) to Theta^(depth - 1)."""
        c = self.config
        gcn = c.conv == "gcn"
        return nn.ModuleList(
            GCN(c.dim, c.dropout) if gcn else HGCN(c.dim, 1, c.dropout, isolated="zero") for _ in range(c.depth)
        )

    def reset_parameters(self) -> None:
        """Draw embeddings from N(0, 0.1^2), weights Kaiming-normal; biases are 0.

        With `start = "identity"`, attention starts as the identity, and fusion and readout with what they read.
        """
        identity = self.config.start == "identity"
        fields = {m for part in (self.profile, self.metadata, self.context) if part is not None for m in part.modules()}
        for module in (m for m in self.modules() if m not in fields):
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.1)
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in (self.temporal.within, self.temporal.across):
            if block is not None and identity:
                nn.init.zeros_(block.out.weight)
                nn.init.zeros_(block.ffn[-1].weight)
        self.fusion.reset_parameters(identity)
        if identity:
            self.read_user.reset_parameters()
            self.read_item.reset_parameters()
        for table in (self.user_bias, self.item_bias, self.temporal.behaviour if identity else None):
            if table is not None:
                nn.init.zeros_(table.weight)

    @property
    def hidden_dim(self) -> int:
        """Width D2 of what the last linear layer of Eq. (7) reads."""
        return self.config.hidden[1]

    def forward(self, batch: Batch, states: tuple[Tensor | None, ...] | None = None) -> Output:
        """Score the rows of a batch.

        Args:
            states: of all users and of all items, [graphs * d] each, or None for no state; read in place of propagated
                ones. Only `hyperctr explain` gives them.
        """
        x = self._sides(batch, states)
        logit, hidden = self.predict(x.fused, x.item, batch.query, x.of_row, x.context, x.own, x.attended)  # (7)
        logit = logit if x.bias is None else logit + x.bias
        if self.branch is None:
            return Output(logit, x.penalty, x.logs, hidden)
        other, loss = self.branch(batch, x.statistics), None
        if self.training:
            loss = sum(F.binary_cross_entropy_with_logits(one, batch.label) for one in (logit, other)) / 2
        return Output((logit + other) / 2, x.penalty, x.logs, hidden, loss=loss)

    def features(self, batch: Batch) -> Features:
        """Return [T_U; e_i; T_U * e_i; c; u] and the sum of all that Eq. (7) adds to its network, [B, 3 d + 1].

        With a context c it has d columns more, with a user's id vector u too, and 2 d with the clicks that are attended
        to. What the model is without is left out. The second branch is not in it.
        """
        x = self._sides(batch)
        user, item = take_rows(x.fused, batch.query), take_rows(x.item, x.of_row)
        parts, direct = [user, item], [] if x.bias is None else [x.bias]
        if self.direct is not None:
            parts.append(user * item)
            direct.append((user * item) @ self.direct)
        if x.context is not None:
            parts.append(x.context)
        if self.cross is not None:
            direct.append((parts[-1] * (user + item)) @ self.cross)
        if x.own is not None:
            parts.append(take_rows(x.own, batch.query))
        if x.attended is not None:
            parts.append(x.attended)
        if self.met is not None:
            direct.append(x.attended.chunk(2, 1)[1] @ self.met)
        if direct:
            parts.append(sum(direct[1:], direct[0])[:, None])
        return Features(torch.cat(parts, 1), x.penalty, x.logs)

    def take_tower(self) -> nn.Sequential:
        """Give up the network of Eq. (7) on `features`, without its last layer."""
        p, self.predict = self.predict, None
        self.direct, self.cross, self.met = p.direct, p.cross, p.met
        direct = int(p.direct is not None or self.user_bias is not None)
        first = nn.Linear(sum(linear.in_features for linear in p.maps) + direct, len(p.user.bias))
        parts = [*(linear.weight for linear in p.maps), first.weight[:, first.in_features - direct :]]
        with torch.no_grad():
            first.weight.copy_(torch.cat(parts, 1))
            first.bias.copy_(p.user.bias)
        return nn.Sequential(first, *p.rest[:-1])

    def _sides(self, batch: Batch, states: tuple[Tensor | None, ...] | None = None) -> Sides:
        """Compute what Eq. (7) reads; `states` as in `forward`."""
        logs = {} if states is not None or (batch.is_augmented and self.states.step) else self.refresh()
        first = batch.query_row  # one row of each query: the user's side is computed once
        at, past = self.layout(batch) if batch.layout is None else batch.layout, batch.histories
        inputs = self.item_inputs(at.vector)  # X^(0) of the group's and modalities' hypergraphs, [unique, graphs * d]
        candidate = take_rows(inputs, at.of_item)
        user = own = self.user(self._known(batch.user[first], self.seen_user))  # [Q, d]
        if self.profile is not None:
            user = user + self.profile.of(batch.user[first])  # E_U

        asked = [(batch.user[first], at.now[first]), (at.item, at.when)]
        live, penalty, moved = self.states.live(batch, at, asked, self._inputs) if states is None else ([], 0.0, {})

        def read(kind: int, static: Tensor) -> Tensor:  # (5)
            if states is None:
                return self.states.read(kind, *asked[kind], static, live[kind])
            state = states[kind]
            return self.states.join(static, torch.zeros_like(static) if state is None else state.expand_as(static))

        kind = None if past.type is None else past.type.flatten()[at.place]
        temporal = self.temporal(user, inputs[:, : self.config.dim], at.click, at.segments, kind)  # (1)-(4) E_t
        static = user.repeat(1, len(self.states.slices.names))
        group = read(0, static)  # Z_U
        fused = self.fusion(temporal, self.read_user(user, group))  # (6)  T_U [Q, d]
        graph = read(1, candidate)  # Z_I
        e_i = self.read_item(candidate[:, : self.config.dim], graph)  # [pairs, d]
        if self.training and self.interest is not None and not batch.is_augmented:
            clicked = batch.label == 1
            penalty = penalty + self._interests.loss(self, batch.user[clicked], batch.item[clicked])  # (9), (10)
        clicks = attended = state = None
        statistics = None if self.levels is None else self.levels(batch)
        if self.attend is not None or self.recent is not None:
            clicks = placed(take_rows(inputs[:, : self.config.dim], at.click), past)
            clicks = clicks if statistics is None else clicks + self.of_levels(statistics)
        if self.attend is not None:
            target = take_rows(e_i, at.of_row)
            dated = clicks if self.ages is None else clicks + self.ages(batch)
            weighed = self.attend(dated, target, past.mask, batch.query, clicks)
            attended = torch.cat([weighed, weighed * target], 1)
        if self.recent is not None:
            state, loss = self.recent(clicks, past.mask, at if self.training and not batch.is_augmented else None)
            penalty = penalty + loss
        known = own if self.profile is not None and self.config.own == "both" else None
        further = [part for part in (known, state) if part is not None]
        context, bias = self._alone(batch, at.item, at.of_row)
        own = torch.cat(further, 1) if further else None
        return Sides(fused, own, e_i, at.of_row, context, attended, statistics, bias, penalty, {**logs, **moved})

    def _alone(self, batch: Batch, item: Tensor, of_row: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Compute c and what is added to the logit beside Eq. (7), as in `Sides`.

        Args:
            item: of each pair. of_row: the pair of each row.
        """
        context = total = None
        if self.user_bias is not None:
            user = batch.user[batch.query_row]
            b_u = self.user_bias(user) * self.seen_user[user, None]  # [Q, 1]
            b_i = self.item_bias(item) * self.seen_item[item, None]  # [pairs, 1]
            if self.profile is not None:
                b_u = b_u + self.profile.weight_of(user)
            if self.metadata is not None:
                b_i = b_i + self.metadata.weight_of(item)
            total = (take_rows(b_u, batch.query) + take_rows(b_i, of_row)).squeeze(1)
        if self.context is not None:
            context, products, weight = self.context(batch)
            if weight is not None:
                total = total + weight
            if self.config.interaction == "product":
                total = products if total is None else total + products
        return context, total

    def layout(self, batch: Batch) -> Layout:
        """Look at a batch, on the host or on the model's device."""
        starts = self.starts if batch.time.device == self.starts.device else self._host_starts
        return Layout.of(batch, starts, self.config.slices, self.config.clicks)

    def slice_of(self, time: Tensor) -> Tensor:
        """Find the slice of each time; all times after the last closed slice are in the open one."""
        return slice_of(time, self.starts)

    def user_vector(self, user: Tensor) -> Tensor:
        """Compute E_U: the id vector plus the profile, [n] -> [n, d]."""
        x = self.user(self._known(user, self.seen_user))
        return x if self.profile is None else x + self.profile.of(user)

    def user_inputs(self, user: Tensor) -> Tensor:
        """Repeat X^(0) = E_U for each hypergraph, side by side: [n] -> [n, graphs * d]."""
        return self.user_vector(user).repeat(1, len(self.states.slices.names))

    def item_inputs(self, item: Tensor) -> Tensor:
        """Compute X^(0) per hypergraph, side by side: M_I plus the mean of the item's modalities, then M_I plus each.

        [n] -> [n, graphs * d]; the first d columns are the item's vector everywhere else.
        """
        x = self.item(self._known(item, self.seen_item))
        if self.metadata is not None:
            x = x + self.metadata.of(item)
        if not self.modalities:
            return x
        row = item.clamp(max=len(self.seen_item) - 2)
        parts, total = [], 0.0
        for m in self.modalities:
            present = getattr(self, f"present_{m}")[item][:, None]
            part = self.project[m](getattr(self, f"feature_{m}")[row].float()) * present
            parts.append(x + part)
            total = total + part
        count = sum(getattr(self, f"present_{m}")[item].float() for m in self.modalities)[:, None]
        return torch.cat([x + total / count.clamp(min=1), *parts], 1)

    def _inputs(self, kind: int, node: Tensor) -> Tensor:
        return self.item_inputs(node) if kind else self.user_inputs(node)

    def refresh(self) -> dict[str, float]:
        """Renew the cached states where that is due, in joint mode on hypergraphs of the current interests.

        Returns:
            how far they moved since the last time, if there was one.
        """
        if self.interest is not None and self.states.step == 0:
            self.states.use(self._interests.renewed(self))
        return self.states.refresh(self._inputs)

    def _known(self, index: Tensor, seen: Tensor) -> Tensor:
        """Replace numbers without a trained vector, and a random share in training, by the unknown one."""
        known = seen[index]
        if self.training and self.config.id_dropout:
            known = known & (torch.rand(len(index), device=index.device) >= self.config.id_dropout)
        return torch.where(known, index, len(seen) - 1)
