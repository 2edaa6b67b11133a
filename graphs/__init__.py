"""Hypergraphs on torch: incidence matrices, time slices, fast products and the layers built on them."""

from graphs import build, describe, draw, expand, links, ops, sample
from graphs.hypergraph import Hypergraph
from graphs.layers import HGCN, HGCNConv, HypergraphAttention, HypergraphConv
from graphs.linked import Links, LinksOverTime
from graphs.ops import kernels_for, use_kernels
from graphs.sample import Block, blocks, cap
from graphs.slices.grid import TimeGrid
from graphs.slices.slices import TimeSlices

__all__ = [
    "Block",
    "HGCN",
    "HGCNConv",
    "Hypergraph",
    "HypergraphAttention",
    "HypergraphConv",
    "Links",
    "LinksOverTime",
    "TimeGrid",
    "TimeSlices",
    "blocks",
    "build",
    "cap",
    "describe",
    "draw",
    "expand",
    "kernels_for",
    "links",
    "ops",
    "sample",
    "use_kernels",
]
