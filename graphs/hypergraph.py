"""Hypergraph: the public face of an `Incidence`. Every method is one call of a plain function."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import scipy.sparse
from numpy.typing import ArrayLike
from torch import Tensor

from graphs import describe, ops
from graphs.convert import frames, hif, networks, npz, tensors
from graphs.convert.lost import IDS, WEIGHTS, warn_of_lost
from graphs.incidence import Incidence

if TYPE_CHECKING:
    import dgl
    import hypernetx
    import networkx
    import pandas
    import xgi
    from matplotlib.axes import Axes
    from torch_geometric.data import Data
    from torch_geometric.data.hypergraph_data import HyperGraphData

    from graphs.linked import Links


class Hypergraph(Incidence):
    """Nodes, hyperedges, and which node is in which hyperedge; made by `Hypergraph.from_pairs`.

    The data is that of `Incidence`; this class adds none. Products and `propagate` have gradients.

    Conversions: `Hypergraph.from_x(h.to_x())` equals h. Each `to_x` makes a copy of counts, incidences and their
    values, weights and ids; a warning names what it has no place for. Each `from_x` also reads what users of
    the package make without `graphs`; a ValueError says what is wrong with it. Both raise an ImportError if the package
    is missing.

    >>> h = Hypergraph.from_pairs(nodes=[0, 1, 1, 2], hyperedges=[0, 0, 1, 1])
    >>> h.degree(), h @ torch.tensor([1.0, 10.0])
    (tensor([1., 2., 1.]), tensor([ 1., 11., 10.]))
    """

    def __matmul__(self, x: Tensor) -> Tensor:
        """Multiply: H x with gradients, [num_hyperedges, ...] -> [num_nodes, ...]; `h.T @ y` is H^T y."""
        return ops.product(self, x)

    def propagate(
        self,
        x: Tensor,
        hyperedge_weight: Tensor | None = None,
        norm: ops.Norm = "sym",
        value: Tensor | None = None,
    ) -> Tensor:
        """Return D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 x, [num_nodes, ...]; see `graphs.ops.propagate`.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).propagate(torch.tensor([[1.0], [3.0]]))
        tensor([[2.],
                [2.]])
        """
        return ops.propagate(self, x, hyperedge_weight, norm, value)

    def links(self, k: int = 200) -> Links:
        """Compute the k strongest links of each node under the operator of `propagate`; see `graphs.links`.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).links(k=1).look_up(1, 0)
        array(0.5, dtype=float32)
        """
        from graphs import links

        return links.from_hypergraph(self, k)

    def describe(self) -> dict:
        """Count nodes, hyperedges, incidences, components and more; see `graphs.describe.describe`.

        >>> facts = Hypergraph.from_pairs([0, 1], [0, 0], num_nodes=3).describe()
        >>> facts["isolated_nodes"], facts["components"], facts["size"]["mean"]
        (1, 2, 2.0)
        """
        return describe.describe(self)

    def draw(self, ax: Axes | None = None) -> Axes:
        """Draw outlines around the members if the hypergraph is small, else the incidence matrix; see `graphs.draw`.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).draw().get_title(loc="left")
        'Hypergraph(2 nodes, 1 hyperedges, 2 incidences)'
        """
        from graphs import draw

        return draw.overview(self, ax)

    def _repr_html_(self) -> str:
        return describe.html_table(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write one .npz file, with attributes. A killed save leaves the old file or none.

        Raises:
            ValueError: an attribute that is not JSON, a negative or non-finite weight.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).save("h.npz")
        >>> Hypergraph.load("h.npz")
        Hypergraph(2 nodes, 1 hyperedges, 2 incidences)
        """
        npz.write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Hypergraph:
        """Read a file of `save`. It is checked like any other input, and nothing is unpickled.

        Raises:
            ValueError: the file does not contain a hypergraph.

        >>> Hypergraph.from_pairs([0], [0], node_ids=["ann"]).save("h.npz")
        >>> Hypergraph.load("h.npz").node_ids
        array(['ann'], dtype='<U3')
        """
        return npz.read(cls, path)

    def to_hif(self, path: str | os.PathLike | None = None) -> dict:
        """Return the hypergraph in the Hypergraph Interchange Format, and write it to `path` if one is given.

        See `graphs.convert.hif` for the places of weights and attributes.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).to_hif()["incidences"]
        [{'edge': 0, 'node': 0}, {'edge': 0, 'node': 1}]
        """
        return hif.write(self, path)

    @classmethod
    def from_hif(cls, source: str | os.PathLike | bytes | dict) -> Hypergraph:
        """Read the Hypergraph Interchange Format from a path, JSON text that begins with {, its bytes, or a dict.

        >>> Hypergraph.from_hif('{"incidences": [{"node": "ann", "edge": "team"}]}')
        Hypergraph(1 nodes, 1 hyperedges, 1 incidences)
        """
        return hif.read(cls, source)

    def to_scipy(self) -> scipy.sparse.csr_array:
        """Return H, [num_nodes, num_hyperedges]: float32 values h(v, e), or int64 ones if incidences have no values.

        A matrix has no place for weights, ids and attributes: a warning names those that are left out. `from_scipy`
        takes weights and ids as arguments.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]).to_scipy().toarray()
        array([[1, 0],
               [1, 1]])
        """
        warn_of_lost(self, "to_scipy", *WEIGHTS, *IDS, "attributes")
        return frames.to_scipy(self)

    @classmethod
    def from_scipy(
        cls,
        matrix: scipy.sparse.sparray | scipy.sparse.spmatrix,
        hyperedge_weight: ArrayLike | Tensor | None = None,
        node_ids: ArrayLike | None = None,
        hyperedge_ids: ArrayLike | None = None,
        node_weight: ArrayLike | Tensor | None = None,
    ) -> Hypergraph:
        """Make a hypergraph of its incidence matrix H, [num_nodes, num_hyperedges], in any sparse format.

        Entries of floats are values, a stored 0 too. Among integers and bools a 0 is no incidence, and if all others
        are 1 incidences have no values. Entries stored twice are added, as everywhere in scipy.

        Raises:
            ValueError: not a sparse matrix, a negative or non-finite entry, or what `from_pairs` refuses.

        >>> import scipy.sparse
        >>> Hypergraph.from_scipy(scipy.sparse.eye_array(3, dtype=int))
        Hypergraph(3 nodes, 3 hyperedges, 3 incidences)
        """
        return frames.from_scipy(cls, matrix, hyperedge_weight, node_ids, hyperedge_ids, node_weight)

    def to_pandas(self) -> frames.Frames:
        """Return three data frames: incidences, nodes and hyperedges, the last two in the order of h.

        If an id names two nodes, the incidences have a column node_number too; for hyperedges, hyperedge_number.
        Attributes are not converted.

        >>> Hypergraph.from_pairs([0, 1], [0, 0], node_ids=["ann", "bob"]).to_pandas().incidences
          node  hyperedge
        0  ann          0
        1  bob          0
        """
        warn_of_lost(self, "to_pandas", "attributes")
        return frames.to_pandas(self)

    @classmethod
    def from_pandas(
        cls,
        incidences: pandas.DataFrame | frames.Frames,
        nodes: pandas.DataFrame | None = None,
        hyperedges: pandas.DataFrame | None = None,
    ) -> Hypergraph:
        """Make a hypergraph of a frame of incidences and, if these do not say all, of nodes and of hyperedges.

        Args:
            incidences: columns node and hyperedge, integers or strings, and weight if incidences have values; equal
                rows are one incidence, as in `from_pairs`. Or the three frames of `to_pandas`.
            nodes: column node with all ids, and weight if nodes have weights. Without column node the incidences give
                numbers of its rows. None takes the ids that occur, sorted.
            hyperedges: the same for hyperedges. Other columns are not read.

        Raises:
            ValueError: columns or ids missing, an id twice, rows not numbered from 0, or what `from_pairs` refuses.

        >>> import pandas
        >>> Hypergraph.from_pandas(pandas.DataFrame({"node": ["ann", "bob"], "hyperedge": ["team", "team"]}))
        Hypergraph(2 nodes, 1 hyperedges, 2 incidences)
        """
        return frames.from_pandas(cls, incidences, nodes, hyperedges)

    def to_networkx(self) -> networkx.Graph:
        """Return a bipartite networkx graph: nodes have `bipartite` 0, hyperedges 1, and an edge is an incidence.

        Weights and values become attributes `weight`. Attributes and metadata are copied to the graph. If a hyperedge
        and a node would have the same name, every hyperedge is called ("hyperedge", name).

        >>> list(Hypergraph.from_pairs([0, 1], [0, 0], node_ids=["ann", "bob"]).to_networkx().edges)
        [('ann', 0), ('bob', 0)]
        """
        return networks.to_networkx(self)

    @classmethod
    def from_networkx(cls, graph: networkx.Graph) -> Hypergraph:
        """Make a hypergraph of a bipartite networkx graph; its nodes have `bipartite` 0, its hyperedges 1.

        Parallel edges of a MultiGraph are one incidence, and their weights are added.

        Raises:
            ValueError: a directed graph, an entry without `bipartite`, an edge within one side, a name that is neither
                integer nor string, a weight that is not a finite number from 0.

        >>> import networkx
        >>> Hypergraph.from_networkx(networkx.complete_bipartite_graph(3, 2))
        Hypergraph(3 nodes, 2 hyperedges, 6 incidences)
        """
        return networks.from_networkx(cls, graph)

    def to_xgi(self) -> xgi.Hypergraph:
        """Return an XGI hypergraph. Weights become attributes `weight` of nodes and edges; attributes are kept.

        XGI has no place for a single incidence: values and attributes of incidences become an attribute
        `hypergraph_incidences` of the edge, a dict by node.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).to_xgi().edges.members()
        [{0, 1}]
        """
        return networks.to_xgi(self)

    @classmethod
    def from_xgi(cls, graph: xgi.Hypergraph) -> Hypergraph:
        """Make a hypergraph of an XGI one; directed hypergraphs and simplicial complexes are refused.

        Raises:
            ValueError: not an xgi.Hypergraph, a name that is neither integer nor string, a weight that is not a finite
                number from 0.

        >>> import xgi
        >>> Hypergraph.from_xgi(xgi.Hypergraph([[0, 1], [1, 2, 3]]))
        Hypergraph(4 nodes, 2 hyperedges, 5 incidences)
        """
        return networks.from_xgi(cls, graph)

    def to_hypernetx(self) -> hypernetx.Hypergraph:
        """Return a HyperNetX hypergraph: weights and values are its weights, attributes its properties.

        HyperNetX does not show a node or edge without an incidence. Those are kept among the properties and marked
        `hypergraph_alone`. HyperNetX has no place for metadata either: they are the object's attribute `metadata`,
        which its own methods lose.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).to_hypernetx().shape
        (2, 1)
        """
        return networks.to_hypernetx(self)

    @classmethod
    def from_hypernetx(cls, graph: hypernetx.Hypergraph) -> Hypergraph:
        """Make a hypergraph of what a HyperNetX one shows, with weights, properties and name.

        HyperNetX gives everything weight 1 by default: weights that are all 1 are read as none. Properties of nodes and
        edges that it does not show, because they have no incidence, are left out unless `to_hypernetx` wrote them. A
        node NaN, which HyperNetX makes of an empty list, is left out.

        Raises:
            ValueError: not such a hypergraph, a name that is neither integer nor string, a weight that is not a finite
                number from 0.

        >>> import hypernetx
        >>> Hypergraph.from_hypernetx(hypernetx.Hypergraph({"team": ["ann", "bob"]}))
        Hypergraph(2 nodes, 1 hyperedges, 2 incidences)
        """
        return networks.from_hypernetx(cls, graph)

    def to_scatter(self) -> tensors.Scatter:
        """Return index tensors that torch_scatter takes; `h.T.to_scatter()` leads from hyperedges to nodes.

        With `source, index, indptr, value = h.to_scatter()`, both `scatter(x[source], index, dim=0,
        dim_size=h.num_hyperedges)` and `segment_csr(x[source], indptr)` are H^T x. Values, if there are any, multiply
        the rows of x[source] first. `Hypergraph.from_pairs(source, index, ...)` is the way back. Attributes are not
        converted.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]).to_scatter()[:3]
        (tensor([0, 1, 1]), tensor([0, 0, 1]), tensor([0, 2, 3]))
        """
        warn_of_lost(self, "to_scatter", *WEIGHTS, *IDS, "attributes")
        return tensors.to_scatter(self)

    def to_pyg(self) -> HyperGraphData:
        """Return a PyG HyperGraphData with `edge_index`, `num_nodes` and `num_hyperedges`, on the device of h.

        If h has them, it also gets `hyperedge_weight`, `node_weight`, `incidence_weight` (of incidences), `node_ids`
        and `hyperedge_ids`: tensors of integers, else lists. Attributes are not converted.

        PyG itself guesses: `data.num_edges` leaves out empty hyperedges at the end, `data.num_nodes` leaves out
        isolated nodes at the end if it equals `num_edges`, and a batch shifts numbers by these. `from_pyg` reads what
        is stored.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]).to_pyg()
        HyperGraphData(edge_index=[2, 3], num_nodes=2, num_hyperedges=2)
        """
        warn_of_lost(self, "to_pyg", "attributes")
        return tensors.to_pyg(self)

    @classmethod
    def from_pyg(cls, data: Data | Tensor) -> Hypergraph:
        """Make a hypergraph of a hyperedge_index, [2, n] with nodes in row 0, or of PyG data that have one.

        Of data, `hyperedge_index` goes before `edge_index`, and everything that `to_pyg` stores is read. A count that
        is not stored is the number of rows of `x` or `pos`, and of `hyperedge_weight` or `hyperedge_attr`; without
        these, and for a plain tensor, the largest number plus one. Other entries are not read.

        Raises:
            ValueError: no such index, data of several hypergraphs in one batch, or what `from_pairs` refuses.

        >>> Hypergraph.from_pyg(torch.tensor([[0, 1, 1], [0, 0, 1]]))
        Hypergraph(2 nodes, 2 hyperedges, 3 incidences)
        """
        return tensors.from_pyg(cls, data)

    def to_dgl(self) -> dgl.DGLGraph:
        """Return a bipartite DGL heterograph on the CPU.

        Its relations are ("node", "in", "hyperedge") and ("hyperedge", "contains", "node"). Weights and values are
        features `weight`. Ids are features `id`: integers, or else each id as the bytes of its JSON text, since DGL
        keeps only tensors. Attributes are not converted. Tested with dgl 1.1.3 on Python 3.11 and the CPU only.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]).to_dgl().num_edges("in")
        3
        """
        warn_of_lost(self, "to_dgl", "attributes")
        return tensors.to_dgl(self)

    @classmethod
    def from_dgl(cls, graph: dgl.DGLGraph) -> Hypergraph:
        """Make a hypergraph of a DGL heterograph that `to_dgl` made, or of any with one bipartite relation.

        Of a relation ("user", "buys", "basket") users become nodes and baskets hyperedges. The features `weight` and
        `id` are read, no others.

        Raises:
            ValueError: several relations, a relation from a type to itself, "in" and "contains" that differ, or what
                `from_pairs` refuses.

        >>> import dgl
        >>> Hypergraph.from_dgl(dgl.heterograph({("user", "buys", "basket"): ([0, 1], [0, 0])}))
        Hypergraph(2 nodes, 1 hyperedges, 2 incidences)
        """
        return tensors.from_dgl(cls, graph)
