"""Click-through rate prediction with multi-modal, time-aware hypergraphs."""

__version__ = "0.1.0"
