"""The one place that chooses between the plain and the fast body of a function.

A function `f` with a fast body has two more in its file, with the same arguments. `_plain_f` is a few lines of ordinary
torch that say what is computed. `_fast_f` computes the same in less time or memory. `f` itself calls `choose`.
`tests/hyperctr/layers/test_plain_and_fast.py` runs both, in values and gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Body = TypeVar("Body", bound=Callable)

PLAIN = False
"""Whether the plain bodies run everywhere. Set it to find out whether a fast body is to blame for a number."""


def choose(plain: Body, fast: Body, pays: bool = True) -> Body:
    """Return the body to run: the fast one where it pays, the plain one elsewhere.

    Args:
        plain, fast: the two bodies of one function.
        pays: whether the fast body is of use here, such as `x.is_cpu` for one that is written for a CPU.
    """
    return fast if pays and not PLAIN else plain
