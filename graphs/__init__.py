"""Hypergraphs on torch: incidence matrices, time slices, fast products and the layers built on them."""

from graphs.hypergraph import Hypergraph
from graphs.layers import HGCN, HGCNConv, HypergraphConv
from graphs.sample import cap
from graphs.slices import TimeGrid, TimeSlices

__all__ = ["HGCN", "HGCNConv", "Hypergraph", "HypergraphConv", "TimeGrid", "TimeSlices", "cap"]
