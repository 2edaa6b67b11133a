"""Integer work under the hypergraphs: CSR, ids, equal hyperedges."""
