"""Part A, hypergraphs: HIF documents, ids, weights, and what converters cannot carry."""

import importlib.util
import json
import warnings

import numpy as np
import torch
from case_bench import Case

from graphs import HGCNConv, Hypergraph, HypergraphConv
from graphs.attributes import Attributes
from graphs.build import from_ids, merge_equal

PAIR = '{"edge": 0, "node": "a"}'


def _hif(nodes: str = "", edges: str = "", incidences: str = PAIR) -> str:
    return f'{{"nodes": [{nodes}], "edges": [{edges}], "incidences": [{incidences}]}}'


def a5_hif_that_contradicts_itself(case: Case):
    """HIF with a record twice but differently, impossible weights or a key twice is refused, naming the record."""
    node, edge = '{"node": "a", "weight": %s}', '{"edge": 0, "weight": %s}'
    member = '{"edge": 0, "node": "a", "weight": %s}'
    wrong = {
        "a node twice, other weight": (_hif(nodes=f"{node % 1}, {node % 2}"), "a"),
        "a node twice, other attribute": (
            _hif(nodes='{"node": "a", "attrs": {"x": 1}}, {"node": "a", "attrs": {"x": 2}}'), "a"),
        "an edge twice, other weight": (_hif(edges=f"{edge % 1}, {edge % 2}"), "0"),
        "an edge twice, other attribute": (
            _hif(edges='{"edge": 0, "attrs": {"x": 1}}, {"edge": 0, "attrs": {"x": 2}}'), "0"),
        "a key twice in a node": (_hif(nodes='{"node": "a", "weight": 1, "weight": 2}'), "weight"),
        "a key twice in an incidence": (_hif(incidences='{"edge": 0, "node": "a", "node": "b"}'), "node"),
        "a key twice in the document": (f'{{"incidences": [], "incidences": [{PAIR}]}}', "incidences"),
        "a key twice in attributes": (_hif(nodes='{"node": "a", "attrs": {"x": 1, "x": 2}}'), "x"),
    }  # fmt: skip
    for weight in ("-1", "1e400", "-1e400", "NaN", "Infinity", "-Infinity"):
        wrong[f"node weight {weight}"] = (_hif(nodes=node % weight), "a")
        wrong[f"edge weight {weight}"] = (_hif(edges=edge % weight), "edge")
        wrong[f"incidence weight {weight}"] = (_hif(incidences=member % weight), "incidence")
    for name, (text, word) in wrong.items():
        case.raises(lambda text=text: Hypergraph.from_hif(text), word, what=name)
        case.raises(lambda text=text: Hypergraph.from_hif(text.encode()), word, what=f"{name}, bytes")
    path = case.folder / "twice.json"
    path.write_text(wrong["a node twice, other weight"][0])
    case.raises(lambda: Hypergraph.from_hif(path), "twice.json", what="a file with a node twice")
    nan = {"incidences": [{"edge": 0, "node": "a", "weight": float("nan")}]}
    case.raises(lambda: Hypergraph.from_hif(nan), what="a dict with a weight of NaN")
    good = Hypergraph.from_hif(_hif(nodes=f"{node % 2}, {node % 2}", edges=f"{edge % 1}"))
    case.equal((good.num_nodes, good.num_hyperedges), (1, 1), "a node recorded twice alike")
    case.check(float(good.node_weight[0]) == 2, "the weight of a node recorded twice alike")
    zero = Hypergraph.from_hif(_hif(nodes=node % 0))
    case.equal(float(zero.node_weight[0]), 0.0, "a weight of 0")


def a15_mixed_ids_and_negative_weights(case: Case):
    """Ids that mix text and numbers, and weights that are negative or no numbers, are refused."""
    for ids in (["1", 1], [1, "1"], ["a", 1.5], [b"1", "1"], ["1", None], [1, None], [1.0, float("nan")]):
        case.raises(lambda ids=ids: from_ids(ids, [0, 1]), what=f"from_ids({ids}, ...)")
        case.raises(lambda ids=ids: from_ids([0, 1], ids), what=f"from_ids(..., {ids})")
    case.equal(from_ids(["1", "2"], [0, 1]).num_nodes, 2, "ids that are all text")
    h = Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1])
    x = torch.ones(3, 2)
    layers = {
        "propagate": lambda w: h.propagate(x, w),
        "propagate, rows": lambda w: h.propagate(x, w, norm="row"),
        "HGCNConv": lambda w: HGCNConv(2, 2)(x, h, w),
        "HypergraphConv": lambda w: HypergraphConv(2, 2)(x, h.hyperedge_index, w),
    }
    for name, layer in layers.items():
        for weight in ([-1.0, 1.0], [float("nan"), 1.0], [float("inf"), 1.0]):
            case.raises(lambda layer=layer, w=weight: layer(torch.tensor(w)), what=f"{name} with weights {weight}")
        case.check(torch.isfinite(layer(torch.tensor([0.0, 2.0]))).all(), f"{name} with weights 0 and 2")
    case.raises(
        lambda: Hypergraph.from_pairs([0], [0], weight=[-1.0]).propagate(torch.ones(1, 1)), what="a negative incidence"
    )


def a16_what_a_converter_cannot_carry(case: Case):
    """Converters and merge_equal that cannot carry ids, weights or attributes say what is lost, at the call."""
    plain = Hypergraph.from_pairs([0, 1, 1, 2, 0, 1], [0, 0, 1, 1, 2, 2])
    from dataclasses import replace

    full = replace(
        Hypergraph.from_pairs([0, 1, 1, 2, 0, 1], [0, 0, 1, 1, 2, 2], hyperedge_weight=[1.0, 2.0, 3.0],
                              node_ids=np.array(["a", "b", "c"]), hyperedge_ids=np.array(["x", "y", "z"])),
        attributes=Attributes({}, {0: {"kind": "user"}}, {1: {"slice": 3}, 2: {"slice": 4}}, {}),
    )  # fmt: skip

    def said(do):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            got = do()
        return got, " ".join(str(w.message) for w in found if "graphs" in w.filename or "case" in w.filename).lower()

    text = said(lambda: merge_equal(full))[1]
    for word in ("id", "attribute"):
        case.check(word in text, f"merge_equal does not say that {word}s of merged hyperedges are lost: {text!r}")
    case.equal(said(lambda: merge_equal(plain))[1], "", "merge_equal of a plain hypergraph warns")
    only = said(lambda: merge_equal(Hypergraph.from_pairs([0, 1], [0, 1], hyperedge_ids=np.array(["x", "y"]))))[1]
    case.equal(only, "", "merge_equal warns where nothing is merged")
    packages = {"scipy": "scipy", "pandas": "pandas", "networkx": "networkx", "pyg": "torch_geometric", "xgi": "xgi",
                "hypernetx": "hypernetx", "dgl": "dgl"}  # fmt: skip
    tried = 0
    for name, package in packages.items():
        if importlib.util.find_spec(package) is None:
            continue
        try:
            there, text = said(lambda name=name: getattr(full, f"to_{name}")())
        except ImportError:
            continue
        tried += 1
        args = there if isinstance(there, tuple) else (there,)
        back = said(lambda name=name, args=args: getattr(Hypergraph, f"from_{name}")(*args))[0]
        lost = []
        if back.node_ids is None or list(back.node_ids) != list(full.node_ids):
            lost.append("id")
        if back.hyperedge_weight is None or not torch.equal(back.hyperedge_weight, full.hyperedge_weight):
            lost.append("weight")
        if not (back.attributes and back.attributes.nodes == full.attributes.nodes
                and back.attributes.hyperedges == full.attributes.hyperedges):  # fmt: skip
            lost.append("attribute")
        for word in lost:
            case.check(word in text, f"to_{name} loses {word}s and says {text!r}")
        case.check(lost or not text, f"to_{name} loses nothing and warns: {text}")
        case.equal(
            said(lambda name=name: getattr(plain, f"to_{name}")())[1], "", f"to_{name} of a plain hypergraph warns"
        )
    case.check(tried >= 1, "no converter could be tried")
    text = said(lambda: full.to_scatter())[1]
    case.check("id" in text and "attribute" in text, f"to_scatter loses ids and attributes and says {text!r}")
    case.check(json.dumps(said(lambda: full.to_hif())[0]), "to_hif")
    case.equal(said(lambda: full.to_hif())[1], "", "to_hif loses nothing and warns")
