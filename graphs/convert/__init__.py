"""Converters: hypergraphs to and from frames, networks, tensors, HIF and npz files."""
