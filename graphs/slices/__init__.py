"""Hypergraphs by time slice: the grid of slices, the slices, and their folder."""

from graphs.slices.grid import TimeGrid
from graphs.slices.slices import TimeSlices

__all__ = ["TimeGrid", "TimeSlices"]
