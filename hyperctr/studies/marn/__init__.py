"""MARN's studies (WWW 2020, arXiv 2003.07162, section 4): one file per table or figure.

All rows train on the same rows of data with the same negatives and the same stopping; another model takes what the
shared run changes in the settings that it has too. Neural models read all modalities.
"""

from hyperctr.studies.marn import fig4, fig5, fig6, planted, table2, table3, table4, table5

STUDIES = (
    table2.STUDY, table3.STUDY, table4.STUDY, table5.STUDY, fig4.STUDY, fig5.STUDY, fig6.STUDY, planted.STUDY,
)  # fmt: skip
