"""HyperCTR's studies (CIKM 2021, arXiv 2109.02398, section 3): one file per table or figure."""

from hyperctr.studies.hyperctr import curve, grids, parts, planted, table3, table4, threads

STUDIES = (
    table3.STUDY, table4.STUDY, grids.LAYERS, grids.GRANULARITY, grids.DIM, grids.NEIGHBORS, threads.STUDY, curve.STUDY,
    parts.ABLATION, parts.DEPTH, planted.STUDY,
)  # fmt: skip
