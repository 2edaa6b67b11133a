"""`python -m hyperctr` is the `hyperctr` command."""

from hyperctr.cli.main import main

if __name__ == "__main__":
    main()
