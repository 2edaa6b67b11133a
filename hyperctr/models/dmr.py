"""DMR: Deep Match to Rank Model (AAAI 2020): its auxiliary matching loss, as a wrapper in AQCL's Table 2.

A vector of the user is computed from all clicks but the last. It has to separate the last click from items drawn at
random.

Where we differ from the paper, and why: only the loss is used. The prediction does not read the user's vector, and
attention knows no positions: AQCL's section 5.2.1 leaves out a method's changes of architecture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_sizes, check_weights
from hyperctr.layers.embedding import id_table
from hyperctr.layers.rng import RandomStream
from hyperctr.layers.table import Rows


@dataclass(frozen=True, kw_only=True)
class Config:
    """The auxiliary loss."""

    w: float = 0.1
    """Weight of the loss; the cross entropy has weight 1. The paper has 0.1. 0 leaves it out."""
    negatives: int = 20
    """Items drawn per last click."""

    def __post_init__(self):
        check_weights(self, "w")
        check_sizes(self, "negatives", table="wrapper")


class DMR(nn.Module):
    """A wrapper that trains a model with DMR's auxiliary match network.

    Args:
        base: any model with a table named item.
        config: the loss.
        tables: what the base was made from.

    Raises:
        ValueError: the base has no table of items.
    """

    Config = Config
    reads = frozenset()
    stays = False

    def __init__(self, base: nn.Module, config: Config, tables: Tables):
        super().__init__()
        self.base, self.config, self.tasks = base, config, base.tasks
        self.draws = RandomStream()
        self.table = (id_table(base, "item", tables.ids.num_items),)  # in a tuple: registered in the base only
        self.register_buffer("known", tables.ids.seen_item.nonzero()[:, 0], persistent=False)
        dim = self.table[0].embedding_dim
        with self.draws.stream():
            self.key = nn.Linear(dim, dim)  # W_e and b of the attention
            self.score = nn.Linear(dim, 1, bias=False)  # z
            self.user = nn.Sequential(nn.Linear(dim, dim), nn.PReLU())
            self.target = Rows(tables.ids.num_items + 1, dim)  # V'
            nn.init.normal_(self.target.weight, std=0.01)

    def forward(self, batch: Batch) -> Output:
        """Return the base's output; in training add the auxiliary loss to its penalty."""
        out = self.base(batch)
        if not (self.training and self.config.w):
            return out
        with self.draws.stream():
            drawn = self.known[
                torch.randint(len(self.known), (len(batch.query_row), self.config.negatives), device=self.known.device)
            ]
        loss = self.loss(batch.histories.item, batch.histories.mask, drawn)
        logs = {**out.logs, "match_loss": loss.detach()}
        return replace(out, penalty=out.penalty + self.config.w * loss, logs=logs)

    def loss(self, item: Tensor, mask: Tensor, drawn: Tensor) -> Tensor:
        """Compute L_NS of the last clicks.

        Args:
            item, mask: histories, real clicks first, [Q, T].
            drawn: negatives of each, [Q, K]; a negative that equals the last click does not count.

        Returns:
            the mean over histories of two clicks or more: (1 + K) log 2 where the vectors say nothing; 0 if there is
            no such history.
        """
        length = mask.sum(1)
        counted = length > 1
        if not item.shape[1]:
            return self.score.weight.sum() * 0
        last = item.gather(1, (length[:, None] - 1).clamp(min=0))
        earlier = torch.arange(item.shape[1], device=item.device) < (length[:, None] - 1).clamp(min=1)
        click = self.table[0](item)
        weight = self.score(torch.tanh(self.key(click))).squeeze(2).masked_fill(~earlier, -math.inf).softmax(1)
        user = self.user((weight[:, None] @ click).squeeze(1))  # u_(T-1)
        score = (self.target(torch.cat([last, drawn], 1)) @ user[:, :, None]).squeeze(2)  # [Q, 1 + K]
        others = F.softplus(score[:, 1:]) * (drawn != last)
        each = F.softplus(-score[:, 0]) + others.sum(1)
        return (each * counted).sum() / counted.sum().clamp(min=1)
