"""Write golden.json anew from the code as it is: `python tests/golden/renew.py`.

A change that must renew a digest says why in its commit message.
"""

import json
import tempfile
from pathlib import Path

import golden_runs as golden


def main() -> None:
    """Run everything that is golden, one after another."""
    with tempfile.TemporaryDirectory() as home:
        found = {
            "fingerprint": golden.fingerprint(),
            "runs": {name: golden.make_run(name, Path(home) / name) for name in golden.names()},
            "tables": {name: golden.make_table(name, Path(home) / f"table {name}") for name in golden.TABLES},
            "worlds": {preset: golden.make_world(preset) for preset in golden.PRESETS},
        }
    golden.GOLDEN.write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
