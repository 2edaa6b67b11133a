"""DeepMCP: Representation Learning-Assisted Click-Through Rate Prediction (IJCAI 2019, arXiv 1906.04365).

Two more tasks share the vectors of the prediction. The matching subnet predicts a click from a user's and an item's
vector only. The correlation subnet separates items that were clicked soon after each other from drawn items. Here it is
a wrapper for any base model, as in AQCL's Table 2.

Where we differ from the paper, and why:
- Both subnets read the vectors of ids only, so that they fit any base model.
- Negatives are drawn once per history, not once per pair, uniformly from the items with training rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_sizes, check_weights
from hyperctr.layers.embedding import id_table
from hyperctr.layers.rng import RandomStream

WINDOW = 2  # clicks on either side of a click that are its context, C


@dataclass(frozen=True, kw_only=True)
class Config:
    """The two subnets."""

    match: float = 0.1
    """Weight alpha of the matching subnet's loss; the cross entropy has weight 1."""
    correlation: float = 0.01
    """Weight beta of the correlation subnet's loss; with both weights 0 the base model trains as without a wrapper."""
    negatives: int = 4
    """Items drawn per history, Q."""
    hidden: tuple[int, ...] = (64, 32)
    """Widths of the layers of both subnets; the last one is the width of the compared vectors."""
    retired: ClassVar = {"window": (2, "the context of a click is always the 2 clicks on either side")}

    def __post_init__(self):
        check_weights(self, "match", "correlation")
        check_sizes(self, "negatives", "hidden", table="wrapper")


class DeepMCP(nn.Module):
    """A wrapper that trains a model with DeepMCP's matching and correlation subnets.

    Args:
        base: any model with tables named user and item.
        config: the subnets.
        tables: what the base was made from.

    Raises:
        ValueError: the base has no table of users or of items.
    """

    Config = Config
    reads = frozenset()
    stays = False

    def __init__(self, base: nn.Module, config: Config, tables: Tables):
        super().__init__()
        self.base, self.config, self.tasks = base, config, base.tasks
        self.draws = RandomStream()
        # in a tuple, so that they are registered in the base only
        self.tables = id_table(base, "user", tables.ids.num_users), id_table(base, "item", tables.ids.num_items)
        self.register_buffer("known", tables.ids.seen_item.nonzero()[:, 0], persistent=False)
        user, item = (table.embedding_dim for table in self.tables)
        with self.draws.stream():
            self.match_user, self.match_item = (_subnet(dim, config.hidden) for dim in (user, item))
            self.correlate = _subnet(item, config.hidden)

    def forward(self, batch: Batch) -> Output:
        """Return the base's output; in training add alpha L_m + beta L_c to its penalty."""
        out, c = self.base(batch), self.config
        if not (self.training and (c.match or c.correlation)):
            return out
        with self.draws.stream():
            drawn = self.known[
                torch.randint(len(self.known), (len(batch.query_row), c.negatives), device=self.known.device)
            ]
        match = F.binary_cross_entropy_with_logits(self.match(batch.user, batch.item), batch.label)
        correlation = self.correlation(batch.histories.item, batch.histories.mask, drawn)
        penalty = out.penalty + c.match * match + c.correlation * correlation
        logs = {"match_loss": match.detach(), "correlation_loss": correlation.detach()}
        return replace(out, penalty=penalty, logs={**out.logs, **logs})

    def match(self, user: Tensor, item: Tensor) -> Tensor:
        """Compute the logit of a click from the two vectors, <v_u, v_a>: [B] and [B] -> [B]."""
        users, items = self.tables
        return (self.match_user(users(user)) * self.match_item(items(item))).sum(1)

    def correlation(self, item: Tensor, mask: Tensor, drawn: Tensor) -> Tensor:
        """Compute L_c, the skip-gram loss with negative sampling.

        Args:
            item, mask: histories, real clicks first, [Q, T].
            drawn: negatives of each, [Q, K]; a negative that equals the click does not count.

        Returns:
            the mean over pairs (click, context) within the window: (1 + K) log 2 where the vectors say nothing, 0 where
            there is no pair.
        """
        vector, other = self.correlate(self.tables[1](item)), self.correlate(self.tables[1](drawn))
        negative = F.softplus(vector @ other.mT) * (item[:, :, None] != drawn[:, None])  # [Q, T, K]
        negative = negative.sum(2)
        total, pairs = vector.sum() * 0, mask.new_zeros((), dtype=torch.long)
        for apart in range(1, min(WINDOW, item.shape[1] - 1) + 1):
            left, right = slice(None, -apart), slice(apart, None)
            real = mask[:, right]  # real clicks come first: if the right one is real, so is the left one
            positive = F.softplus(-(vector[:, left] * vector[:, right]).sum(2))
            # each is the other's context
            total = total + ((2 * positive + negative[:, left] + negative[:, right]) * real).sum()
            pairs = pairs + 2 * real.sum()
        return total / pairs.clamp(min=1)


def _subnet(dim: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Build layers with ReLU between them and tanh after the last, as in the paper: [..., dim] -> [..., widths[-1]]."""
    layers: list[nn.Module] = []
    for before, width in zip((dim, *widths), widths, strict=False):
        layers += [nn.Linear(before, width), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Tanh())
