"""The models by name: a dict you can see. Each is `Model(config, tables)` and answers `model(batch) -> Output`."""

from hyperctr.models.hyperctr import HyperCTR
from hyperctr.models.matrix_factorisation import MatrixFactorisation
from hyperctr.models.popularity import Popularity

MODELS = {"hyperctr": HyperCTR, "mf": MatrixFactorisation, "popularity": Popularity}
