"""Hypergraphs to and from networkx, XGI and HyperNetX.

They name nodes and hyperedges by the caller's ids (see `graphs.convert.records`) and keep attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphs.convert import records
from graphs.convert.records import Records
from graphs.incidence import AnyIncidence, Incidence
from graphs.optional import package

if TYPE_CHECKING:
    import hypernetx
    import networkx
    import pandas
    import xgi


ALONE = "hypergraph_alone"
"""Marks, in HyperNetX, a node or hyperedge that has no incidence."""
INCIDENCES = "hypergraph_incidences"
"""Names, in XGI, the entries of the incidences of a hyperedge, by node."""


def to_networkx(h: Incidence) -> networkx.Graph:
    """Return a bipartite networkx graph; see `Hypergraph.to_networkx`."""
    nx = package("networkx")
    known = records.write(h)
    clash = not known.nodes.keys().isdisjoint(known.hyperedges)
    name = {e: ("hyperedge", e) if clash else e for e in known.hyperedges}
    graph = nx.Graph()
    graph.graph.update(known.metadata)
    graph.add_nodes_from((v, record | {"bipartite": 0}) for v, record in known.nodes.items())
    graph.add_nodes_from((name[e], record | {"bipartite": 1}) for e, record in known.hyperedges.items())
    graph.add_edges_from((v, name[e], record) for v, e, record in known.incidences)
    return graph


def from_networkx(cls: type[AnyIncidence], graph: networkx.Graph) -> AnyIncidence:
    """Make a hypergraph of a bipartite networkx graph; see `Hypergraph.from_networkx`."""
    nx = package("networkx")
    if not isinstance(graph, nx.Graph) or graph.is_directed():
        raise ValueError(f"from_networkx takes an undirected networkx graph, got {type(graph).__name__}")
    sides: dict[int, dict] = {0: {}, 1: {}}
    for name, entries in graph.nodes(data=True):
        if entries.get("bipartite") not in (0, 1):
            raise ValueError(
                f"every entry of the graph must say bipartite=0 (a node) or bipartite=1 (a hyperedge), "
                f"got {entries.get('bipartite')!r} for {name!r}"
            )
        sides[entries["bipartite"]][name] = {key: entry for key, entry in entries.items() if key != "bipartite"}
    incidences = []
    for one, other, entries in graph.edges(data=True):
        node, hyperedge = (one, other) if one in sides[0] else (other, one)
        if node not in sides[0] or hyperedge not in sides[1]:
            raise ValueError(f"the graph is not bipartite: its edge ({one!r}, {other!r}) stays within one side")
        incidences.append((node, _plain(hyperedge), entries))
    hyperedges = {_plain(name): record for name, record in sides[1].items()}
    if len(hyperedges) < len(sides[1]):
        raise ValueError('a hyperedge is called ("hyperedge", name) where another one is called name')
    return records.read(cls, Records(graph.graph, sides[0], hyperedges, incidences))


def to_xgi(h: Incidence) -> xgi.Hypergraph:
    """Return an XGI hypergraph; see `Hypergraph.to_xgi`."""
    xgi = package("xgi")
    known = records.write(h)
    graph = xgi.Hypergraph()
    graph._net_attr.update(known.metadata)
    graph.add_nodes_from(known.nodes.items())
    graph.add_edges_from(known.members())
    for node, hyperedge, record in known.incidences:
        if record:
            known.hyperedges[hyperedge].setdefault(INCIDENCES, {})[node] = record
    graph.set_edge_attributes(known.hyperedges)
    return graph


def from_xgi(cls: type[AnyIncidence], graph: xgi.Hypergraph) -> AnyIncidence:
    """Make a hypergraph of an XGI one; see `Hypergraph.from_xgi`."""
    xgi = package("xgi")
    if not isinstance(graph, xgi.Hypergraph) or isinstance(graph, xgi.SimplicialComplex):
        raise ValueError(
            f"from_xgi takes an undirected xgi.Hypergraph, got {type(graph).__name__}; "
            "xgi.Hypergraph(complex) converts a simplicial complex"
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
    return records.read(cls, Records(graph._net_attr, nodes, hyperedges, incidences))


def to_hypernetx(h: Incidence) -> hypernetx.Hypergraph:
    """Return a HyperNetX hypergraph; see `Hypergraph.to_hypernetx`."""
    hnx = package("hypernetx")
    known = records.write(h)
    for side in (0, 1):
        occurring = {incidence[side] for incidence in known.incidences}
        for name, record in (known.nodes, known.hyperedges)[side].items():
            if name not in occurring:
                record[ALONE] = True
    graph = hnx.Hypergraph(
        _frame(
            {"edges": [e for _, e, _ in known.incidences], "nodes": [v for v, _, _ in known.incidences]},
            [record for _, _, record in known.incidences],
        ),
        edge_col="edges",
        node_col="nodes",
        misc_cell_properties_col="misc_properties",
        misc_properties_col="misc_properties",
        node_properties=_frame({"uid": list(known.nodes)}, list(known.nodes.values())),
        edge_properties=_frame({"uid": list(known.hyperedges)}, list(known.hyperedges.values())),
        name=known.metadata.get("name"),
    )
    graph.metadata = known.metadata
    return graph


def from_hypernetx(cls: type[AnyIncidence], graph: hypernetx.Hypergraph) -> AnyIncidence:
    """Make a hypergraph of a HyperNetX one; see `Hypergraph.from_hypernetx`."""
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
    return records.read(cls, Records(metadata, nodes, hyperedges, incidences))


def _plain(name: object) -> object:
    """Return the name of a hyperedge that networkx calls ("hyperedge", name)."""
    return name[1] if isinstance(name, tuple) and len(name) == 2 and name[0] == "hyperedge" else name


def _frame(columns: dict[str, list], entries: list[dict]) -> pandas.DataFrame:
    """Make a table as HyperNetX takes it: names, weight, and the other entries as one dict."""
    pd = package("pandas")
    weight = [record.pop("weight", 1) for record in entries]
    return pd.DataFrame(columns | {"weight": weight, "misc_properties": entries})


def _properties(view: hypernetx.classes.HypergraphView) -> dict[object, dict]:
    """Return the entries that HyperNetX stores, by name, without NaN in columns and without its own `_level`."""
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
    """Return the entries of the names that are in an incidence or marked with ALONE, in the order they are stored."""
    known, occurring = _properties(view), dict.fromkeys(names)
    shown = {name: record for name, record in known.items() if name in occurring or ALONE in record}
    shown |= {name: {"weight": view.default_weight} for name in occurring if name not in known}
    for record in shown.values():
        record.pop(ALONE, None)
    return shown
