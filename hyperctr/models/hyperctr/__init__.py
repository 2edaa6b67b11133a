"""HyperCTR (CIKM 2021) in paper order: config, attention, parts, propagation, model."""

from hyperctr.models.hyperctr.config import Config
from hyperctr.models.hyperctr.model import HyperCTR

__all__ = ["Config", "HyperCTR"]
