"""Read, describe and split click data; every table is checked once, where it enters."""
