"""Positions for the vertices of a small drawing, and outlines around the members of a hyperedge; in numpy and scipy."""

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree, shortest_path
from scipy.spatial import ConvexHull, Delaunay, QhullError
from scipy.spatial.distance import cdist

STEPS = 200  # of stress majorisation; more steps make no visible difference


def place(adjacency: scipy.sparse.csr_array) -> np.ndarray:
    """Place vertices so that distances follow the steps between them, the components of the graph next to each other.

    Args:
        adjacency: symmetric, [n, n]; every entry is one step, also for other values. A component of k vertices takes
            time k^3.

    Returns:
        [n, 2]; a step is about one unit. The same graph always gives the same positions.
    """
    label = connected_components(adjacency, directed=False)[1]
    at = np.zeros((adjacency.shape[0], 2))
    parts = [np.flatnonzero(label == part) for part in np.argsort(-np.bincount(label), kind="stable")]
    placed = [_stress(shortest_path(adjacency[part][:, part], directed=False, unweighted=True)) for part in parts]
    room = [np.ptp(x, axis=0) + 1.5 for x in placed]  # width and height with a margin
    width = max([1.3 * np.sqrt(sum(w * h for w, h in room)), *(w for w, _ in room)], default=0)
    left = top = depth = 0.0
    for part, x, (w, h) in zip(parts, placed, room, strict=True):  # in rows, the largest first
        if left + w > width:
            left, top, depth = 0.0, top - depth, 0.0
        at[part] = x - [x[:, 0].min() - left, x[:, 1].max() - top]
        left, depth = left + w, max(depth, h)
    return at


def spacing(at: np.ndarray) -> float:
    """Return the median distance of a position from its nearest other one; zero if there are fewer than two."""
    return float(np.median(np.sort(cdist(at, at), axis=1)[:, 1])) if len(at) > 1 else 0.0


def _stress(far: np.ndarray) -> np.ndarray:
    """Place one component by stress majorisation; far, [n, n], has the steps between its vertices.

    Gansner, Koren and North, Graph Drawing by Stress Majorization, 2004.
    """
    num = len(far)
    weight = _divide(1.0, far**2)
    inverse = np.linalg.pinv(np.diag(weight.sum(1)) - weight, hermitian=True)
    centred = far**2 - (far**2).mean(0) - (far**2).mean(1)[:, None] + (far**2).mean()
    value, vector = np.linalg.eigh(-0.5 * centred)  # start with classical scaling
    x = vector[:, -2:] * np.sqrt(np.maximum(value[-2:], 0)) if num > 1 else np.zeros((1, 2))
    x = x + np.random.default_rng(0).normal(0, 0.1, (num, 2))  # separates leaves of one hub
    for _ in range(STEPS):
        pull = _divide(weight * far, cdist(x, x))
        x = inverse @ ((np.diag(pull.sum(1)) - pull) @ x)
    return x


def outline(members: np.ndarray, others: np.ndarray, radius: float, points: np.ndarray) -> np.ndarray:
    """Compute a number per point, negative inside an outline around the members, with no other vertex inside.

    The outline is the convex hull of the members, wider by `radius`. If other vertices are in it, the outline follows
    the shortest tree through the members and bends away from the others.

    Args:
        members: positions, [k, 2], k at least 1.
        others: positions of the vertices that stay outside, [n, 2].
        radius: distance of the outline from the members; about half of it stays free around the others.
        points: positions of the numbers, [points, 2].
    """
    try:
        hull = ConvexHull(members).simplices, Delaunay(members)
    except (QhullError, ValueError):  # fewer than three members, or all on a line
        hull = None
    if hull is None or (len(others) and _distance(others, members, *hull).min() < 1.5 * radius):
        tree = minimum_spanning_tree(cdist(members, members) + 1e-9).tocoo()
        hull = np.stack([tree.row, tree.col], axis=1) if len(members) > 1 else np.zeros((1, 2), dtype=int), None
    away = _distance(points, members, *hull)
    if not len(others):
        return away - radius
    clear = cdist(points, others).min(1)
    kept = min(radius, cdist(members, others).min()) / 2
    return np.maximum(away - radius, np.maximum(away - 1.5 * clear, kept - clear))


def _distance(points: np.ndarray, corners: np.ndarray, edges: np.ndarray, inside: Delaunay | None) -> np.ndarray:
    """Return the distance of each point from the nearest edge, zero inside."""
    away = np.full(len(points), np.inf)
    for a, b in corners[edges]:
        along = (points - a) @ (b - a) / max(((b - a) ** 2).sum(), 1e-12)
        away = np.minimum(away, np.linalg.norm(points - a - np.clip(along, 0, 1)[:, None] * (b - a), axis=1))
    return away if inside is None else np.where(inside.find_simplex(points) >= 0, 0, away)


def _divide(a: np.ndarray | float, b: np.ndarray) -> np.ndarray:
    """Return a / b, with 0 where b is zero."""
    return np.divide(a, b, out=np.zeros_like(b), where=b > 0)
