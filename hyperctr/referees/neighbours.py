"""The k largest entries per row of a sparse matrix between items, and the sums of those that a history names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

CELLS = 2**23  # entries in memory at a time, of a history spread over the items or of looked-up neighbours


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of each of m items, the strongest first.

    Attributes:
        item: places of the neighbours, int32 [m + 1, k]; m where an item has fewer. Row m, an item without a training
            click, has none.
        value: their strengths, float64 [m + 1, k]; 0 where there is none.
    """

    item: Tensor
    value: Tensor

    @classmethod
    def strongest(cls, parts: list[sparse.csr_array], k: int) -> Neighbours:
        """Keep the k largest entries of each row; of equal entries the first column counts.

        Args:
            parts: the rows of the matrix in order, [rows, m] each.
            k: at least 1; more than m columns are not kept.
        """
        m = parts[0].shape[1]
        k, first = min(k, m), 0
        item, value = np.full((m + 1, k), m, np.int32), np.zeros((m + 1, k))
        for part in parts:
            part.sort_indices()
            row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
            order = np.lexsort((-part.data, row))
            rank = np.arange(len(row)) - part.indptr[row]  # rows are in order, so that this counts within each
            kept = rank < k
            item[first + row[kept], rank[kept]] = part.indices[order[kept]]
            value[first + row[kept], rank[kept]] = part.data[order[kept]]
            first += part.shape[0]
        return cls(torch.from_numpy(item), torch.from_numpy(value))

    def sums(self, past: Tensor, weight: Tensor, query: Tensor, item: Tensor, k: int) -> Tensor:
        """Return per row the sum over the candidate's first k neighbours of strength times weight in the history.

        Args:
            past: places of the clicked items of each query, [Q, T]; m where there is none.
            weight: of each click, float64 [Q, T]; the weights of an item that is there twice are added.
            query, item: number of the query and place of the candidate of each row, [B] each.
            k: neighbours to read.

        >>> near = Neighbours.strongest([sparse.csr_array(np.array([[0.0, 2, 3], [2, 0, 0], [3, 0, 0]]))], k=2)
        >>> past, weight = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.float64)
        >>> near.sums(past, weight, torch.tensor([0, 0]), torch.tensor([0, 3]), k=2).tolist()
        [5.0, 0.0]
        """
        m, k = len(self.item) - 1, min(k, self.item.shape[1])
        score = torch.zeros(len(query), dtype=torch.float64)
        if not len(query):
            return score
        for some in torch.arange(len(past)).split(max(1, CELLS // (m + 1))):
            spread = torch.zeros(len(some), m + 1, dtype=torch.float64)
            spread.scatter_add_(1, past[some], weight[some])
            spread[:, m] = 0
            mine = torch.nonzero((query >= some[0]) & (query <= some[-1]))[:, 0]
            for rows in mine.split(max(1, CELLS // max(k, 1))):
                near = self.item[item[rows], :k].long() + ((query[rows] - some[0]) * (m + 1))[:, None]
                score[rows] = (spread.view(-1)[near] * self.value[item[rows], :k]).sum(1)
        return score
