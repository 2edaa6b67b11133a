"""LT4REC's studies (arXiv 2008.09872, sections 2.2 and 3): one file per table or figure."""

from hyperctr.studies.lt4rec import fig4, planted, replay, speed, table2

STUDIES = (table2.STUDY, fig4.STUDY, replay.STUDY, speed.STUDY, planted.STUDY)
