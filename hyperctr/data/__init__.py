"""Reading, describing and splitting click data; every table is checked once, where it enters."""
