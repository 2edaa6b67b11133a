"""MIAN's studies (WSDM 2021, arXiv 2012.06968, section 4): one file per table or figure.

All rows train on the same rows of data with the same negatives and the same stopping; another model takes what the
shared run changes in the settings that it has too.
"""

from hyperctr.studies.mian import efficiency, fig6, planted, table2, table3, table4

STUDIES = (table2.STUDY, table3.STUDY, table4.STUDY, efficiency.STUDY, fig6.STUDY, planted.STUDY)
