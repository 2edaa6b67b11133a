"""Hypergraphs as networkx, XGI and HyperNetX hold them: by names, with attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphs.convert import records
from graphs.convert.records import Records
from graphs.optional import package

if TYPE_CHECKING:
    import hypernetx
    import networkx
    import pandas
    import xgi

    from graphs.hypergraph import Hypergraph


ALONE = "hypergraph_alone"
"""Marks, in HyperNetX, a node or hyperedge that is there without an incidence."""
INCIDENCES = "hypergraph_incidences"
"""Names, in XGI, what is known of the incidences of a hyperedge, by node."""


class Networks:
    """Conversions that name nodes and hyperedges by the caller's ids, see `graphs.records`, and keep attributes."""

    def to_networkx(self) -> networkx.Graph:
        """A bipartite networkx graph: nodes have `bipartite` 0, hyperedges 1, and an edge is an incidence.

        Weights and values are attributes `weight`, attributes stay themselves, and the metadata is that of the graph.
        Where a hyperedge and a node would have the same name, every hyperedge is called ("hyperedge", name).
        """
        nx = package("networkx")
        found = records.write(self)
        clash = not found.nodes.keys().isdisjoint(found.hyperedges)
        name = {e: ("hyperedge", e) if clash else e for e in found.hyperedges}
        graph = nx.Graph()
        graph.graph.update(found.metadata)
        graph.add_nodes_from((v, record | {"bipartite": 0}) for v, record in found.nodes.items())
        graph.add_nodes_from((name[e], record | {"bipartite": 1}) for e, record in found.hyperedges.items())
        graph.add_edges_from((v, name[e], record) for v, e, record in found.incidences)
        return graph

    @classmethod
    def from_networkx(cls, graph: networkx.Graph) -> Hypergraph:
        """A hypergraph from a bipartite networkx graph, whose nodes have `bipartite` 0 and whose hyperedges have 1.

        Parallel edges of a MultiGraph are one incidence, and their weights are added.

        Raises:
            ValueError: a directed graph, an entry without `bipartite`, an edge within one side, a name that is neither
                integer nor string, a weight that is not a finite number from 0.
        """
        nx = package("networkx")
        if not isinstance(graph, nx.Graph) or graph.is_directed():
            raise ValueError(f"from_networkx takes an undirected networkx graph, got {type(graph).__name__}")
        sides: dict[int, dict] = {0: {}, 1: {}}
        for name, found in graph.nodes(data=True):
            if found.get("bipartite") not in (0, 1):
                raise ValueError(
                    f"every entry of the graph must say bipartite=0 (a node) or bipartite=1 (a hyperedge), "
                    f"got {found.get('bipartite')!r} for {name!r}"
                )
            sides[found["bipartite"]][name] = {key: entry for key, entry in found.items() if key != "bipartite"}
        incidences = []
        for one, other, found in graph.edges(data=True):
            node, hyperedge = (one, other) if one in sides[0] else (other, one)
            if node not in sides[0] or hyperedge not in sides[1]:
                raise ValueError(f"the graph is not bipartite: its edge ({one!r}, {other!r}) stays within one side")
            incidences.append((node, _plain(hyperedge), found))
        hyperedges = {_plain(name): record for name, record in sides[1].items()}
        if len(hyperedges) < len(sides[1]):
            raise ValueError('a hyperedge is called ("hyperedge", name) where another one is called name')
        return records.read(Records(graph.graph, sides[0], hyperedges, incidences), cls)

    def to_xgi(self) -> xgi.Hypergraph:
        """An XGI hypergraph: weights are attributes `weight` of nodes and edges, attributes stay themselves.

        XGI knows nothing of a single incidence: values and attributes of incidences are an attribute
        `hypergraph_incidences` of the edge, a dict by node.
        """
        xgi = package("xgi")
        found = records.write(self)
        graph = xgi.Hypergraph()
        graph._net_attr.update(found.metadata)
        graph.add_nodes_from(found.nodes.items())
        graph.add_edges_from(found.members())
        for node, hyperedge, record in found.incidences:
            if record:
                found.hyperedges[hyperedge].setdefault(INCIDENCES, {})[node] = record
        graph.set_edge_attributes(found.hyperedges)
        return graph

    @classmethod
    def from_xgi(cls, graph: xgi.Hypergraph) -> Hypergraph:
        """A hypergraph from an XGI one; directed ones and simplicial complexes are others.

        Raises:
            ValueError: not an xgi.Hypergraph, a name that is neither integer nor string, a weight that is not a finite
                number from 0.
        """
        xgi = package("xgi")
        if not isinstance(graph, xgi.Hypergraph) or isinstance(graph, xgi.SimplicialComplex):
            raise ValueError(
                f"from_xgi takes an undirected xgi.Hypergraph, got {type(graph).__name__}; "
                "xgi.Hypergraph(complex) makes one of a simplicial complex"
            )
        nodes = {v: dict(graph.nodes[v]) for v in graph.nodes}
        place = {v: i for i, v in enumerate(nodes)}
        hyperedges, incidences = {}, []
        for e, members in graph.edges.members(dtype=dict).items():
            hyperedges[e] = dict(graph.edges[e])
            known = hyperedges[e].pop(INCIDENCES, {})
            if not isinstance(known, dict) or not all(isinstance(record, dict) for record in known.values()):
                raise ValueError(f"{INCIDENCES} of hyperedge {e!r} must be a dict of dicts by node, got {known!r}")
            incidences += [(v, e, known.get(v, {})) for v in sorted(members, key=place.__getitem__)]
        return records.read(Records(graph._net_attr, nodes, hyperedges, incidences), cls)

    def to_hypernetx(self) -> hypernetx.Hypergraph:
        """A HyperNetX hypergraph: weights and values are its weights, attributes its properties.

        HyperNetX itself shows no node or edge without an incidence; they wait among the properties, marked
        `hypergraph_alone`. It has no place for metadata either: they are the object's attribute `metadata`, which its
        own methods lose.
        """
        hnx = package("hypernetx")
        found = records.write(self)
        for side in (0, 1):
            occurring = {incidence[side] for incidence in found.incidences}
            for name, record in (found.nodes, found.hyperedges)[side].items():
                if name not in occurring:
                    record[ALONE] = True
        graph = hnx.Hypergraph(
            _frame(
                {"edges": [e for _, e, _ in found.incidences], "nodes": [v for v, _, _ in found.incidences]},
                [record for _, _, record in found.incidences],
            ),
            edge_col="edges",
            node_col="nodes",
            misc_cell_properties_col="misc_properties",
            misc_properties_col="misc_properties",
            node_properties=_frame({"uid": list(found.nodes)}, list(found.nodes.values())),
            edge_properties=_frame({"uid": list(found.hyperedges)}, list(found.hyperedges.values())),
            name=found.metadata.get("name"),
        )
        graph.metadata = found.metadata
        return graph

    @classmethod
    def from_hypernetx(cls, graph: hypernetx.Hypergraph) -> Hypergraph:
        """A hypergraph from a HyperNetX one: what it shows, with weights, properties and name.

        HyperNetX weighs everything 1 unless told: weights that are all 1 are none. Properties of what it does not show,
        because it has no incidence, are left out unless `to_hypernetx` wrote them. A node NaN, which HyperNetX makes of
        an empty list, is none.

        Raises:
            ValueError: not such a hypergraph, a name that is neither integer nor string, a weight that is not a finite
                number from 0.
        """
        hnx = package("hypernetx")
        if not isinstance(graph, hnx.Hypergraph):
            raise ValueError(f"from_hypernetx takes a hypernetx.Hypergraph, got {type(graph).__name__}")
        pairs = list(graph.incidences.incidence_store)
        known, default = _properties(graph.incidences), {"weight": graph.incidences.default_weight}
        incidences = [(v, e, known.get((e, v), default)) for e, v in pairs if v == v]
        nodes = _shown(graph.nodes, [v for _, v in pairs if v == v])
        hyperedges = _shown(graph.edges, [e for e, _ in pairs])
        for side in (nodes.values(), hyperedges.values(), [record for _, _, record in incidences]):
            if all(record["weight"] == 1 for record in side):
                for record in side:
                    record.pop("weight", None)
        metadata = ({} if graph.name is None else {"name": graph.name}) | getattr(graph, "metadata", {})
        return records.read(Records(metadata, nodes, hyperedges, incidences), cls)


def _plain(name: object) -> object:
    """The name of a hyperedge that networkx calls ("hyperedge", name)."""
    return name[1] if isinstance(name, tuple) and len(name) == 2 and name[0] == "hyperedge" else name


def _frame(columns: dict[str, list], found: list[dict]) -> pandas.DataFrame:
    """A table as HyperNetX takes it: names, weight, and the other entries as one dict."""
    pd = package("pandas")
    weight = [record.pop("weight", 1) for record in found]
    return pd.DataFrame(columns | {"weight": weight, "misc_properties": found})


def _properties(view: hypernetx.classes.HypergraphView) -> dict[object, dict]:
    """The entries that HyperNetX stores, by name; NaN in a column is no entry, and `_level` is its own remark."""
    pd = package("pandas")
    table = view.property_store.properties
    found = {}
    for name, row in zip(table.index, table.to_dict("records"), strict=True):
        misc = row.pop("misc_properties", None)
        columns = {key: entry for key, entry in row.items() if not (pd.api.types.is_scalar(entry) and pd.isna(entry))}
        found[name] = {"weight": view.default_weight} | (misc if isinstance(misc, dict) else {}) | columns
        found[name].pop("_level", None)
    return found


def _shown(view: hypernetx.classes.HypergraphView, names: list) -> dict[object, dict]:
    """The entries of what is in an incidence or marked as there without one, in the order they are stored."""
    known, occurring = _properties(view), dict.fromkeys(names)
    shown = {name: record for name, record in known.items() if name in occurring or ALONE in record}
    shown |= {name: {"weight": view.default_weight} for name in occurring if name not in known}
    for record in shown.values():
        record.pop(ALONE, None)
    return shown
