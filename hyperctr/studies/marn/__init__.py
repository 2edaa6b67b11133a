"""MARN's studies (WWW 2020, arXiv 2003.07162, section 4): rows, the paper's numbers, verdicts."""

from hyperctr.studies.marn import published, rows, verdicts

__all__ = ["published", "rows", "verdicts"]
