"""MIAN's studies (WSDM 2021, arXiv 2012.06968, section 4): rows, the paper's numbers, verdicts."""

from hyperctr.studies.mian import published, rows, verdicts

__all__ = ["published", "rows", "verdicts"]
