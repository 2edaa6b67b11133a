"""HyperCTR's studies (CIKM 2021, arXiv 2109.02398, section 3): rows, the paper's numbers, verdicts."""

from hyperctr.studies.hyperctr import published, rows, verdicts

__all__ = ["published", "rows", "verdicts"]
