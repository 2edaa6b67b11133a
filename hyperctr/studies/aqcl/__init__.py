"""AQCL's studies (arXiv 2109.13921, section 5): rows, the paper's numbers, verdicts."""

from hyperctr.studies.aqcl import published, rows, verdicts

__all__ = ["published", "rows", "verdicts"]
