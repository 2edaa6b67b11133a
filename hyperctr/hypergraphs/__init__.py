"""Make hypergraphs from clicks, write them to a folder, draw and export them."""
