"""Write golden.json anew from the code as it is: `python tests/golden/renew.py` all of it, with names only those runs.

A run that is renewed alone keeps the fingerprint of its machine beside its numbers. A change that must renew a digest
says why in its commit message.
"""

import json
import sys
import tempfile
from pathlib import Path

import golden_runs as golden


def main(names: list[str]) -> None:
    """Run everything that is golden, or the named runs, one after another."""
    with tempfile.TemporaryDirectory() as home:
        runs = {name: golden.make_run(name, Path(home) / name) for name in names or golden.names()}
        if names:
            found = golden.golden()
            found["runs"] |= {name: run | {"fingerprint": golden.fingerprint()} for name, run in runs.items()}
        else:
            found = {
                "fingerprint": golden.fingerprint(),
                "runs": runs,
                "tables": {name: golden.make_table(name, Path(home) / f"table {name}") for name in golden.TABLES},
                "worlds": {preset: golden.make_world(preset) for preset in golden.PRESETS},
            }
    golden.GOLDEN.write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
