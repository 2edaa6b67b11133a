"""Hypergraphs of clicks: how they are made, kept in a folder, drawn and exported."""
