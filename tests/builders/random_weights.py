"""Random weights for comparisons with slow loops: nothing starts at zero or as the identity."""

from torch import nn

from hyperctr.layers.table import Table


def drawn(module):
    """Draw every weight at random, in double precision; unknown numbers keep their zero."""
    module = module.double()
    for p in module.parameters():
        nn.init.normal_(p, std=0.5)
    for table in (m for m in module.modules() if isinstance(m, Table)):
        nn.init.zeros_(table.weight[-1])
    return module
