"""AQCL's studies (arXiv 2109.13921, section 5): one file per table or figure.

All rows of a study train on the same rows of data, with the same negatives and the same stopping.
"""

from hyperctr.studies.aqcl import fig5, fig6, fig7, planted, table2, table3

STUDIES = (
    table2.STUDY, table3.STUDY, fig5.STUDY, fig7.WIDTH, fig7.WEIGHT, fig7.INTERESTS, fig6.STUDY, planted.STUDY,
    planted.PAPER_STUDY,
)  # fmt: skip
