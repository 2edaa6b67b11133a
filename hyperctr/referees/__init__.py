"""Referees by name: simple methods that a table reports on the same rows, fitted once and without gradient steps.

`REFEREES`: `Referee(config, tables)`, see `hyperctr.batch.Referee`. Popularity is one too, but its two scalars are
trained as those of a model, so that `hyperctr.models.MODELS` has its name.
"""

from hyperctr.batch import Referee
from hyperctr.referees.ease import EASE
from hyperctr.referees.itemknn import ItemKNN
from hyperctr.referees.transitions import Transitions
from hyperctr.referees.trees import Trees, TreesLinks

REFEREES: dict[str, type[Referee]] = {
    "ease": EASE,
    "itemknn": ItemKNN,
    "transitions": Transitions,
    "trees": Trees,
    "trees-links": TreesLinks,
}
