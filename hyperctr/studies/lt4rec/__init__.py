"""LT4REC's studies (arXiv 2008.09872, section 3): rows, the paper's numbers, verdicts."""

from hyperctr.studies.lt4rec import published, rows, verdicts

__all__ = ["published", "rows", "verdicts"]
