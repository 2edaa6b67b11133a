"""The second-order term of factorisation machines."""

from torch import Tensor


def pairwise(x: Tensor) -> Tensor:
    """Sum of the products of all pairs of fields, x_i * x_j with i < j: [B, F, d] -> [B, d].

    Rendle, ICDM 2010: half of the square of the sum less the sum of the squares, linear in F. Summed over d it is the
    second-order term of an FM.
    """
    return (x.sum(1).square() - x.square().sum(1)) / 2
