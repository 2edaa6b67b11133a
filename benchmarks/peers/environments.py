"""Make an environment for each library that our training is compared with: DIR/fuxictr, DIR/deepctr-torch, ...

    python benchmarks/peers/environments.py --out envs                  all three; a few hundred megabytes each
    python benchmarks/peers/environments.py --out envs --only fuxictr

An environment that is there already is left alone. On Linux without a GPU,
PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves large downloads.
"""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Annotated

import typer

TORCH = "torch==2.13.0"
PEERS = {
    "fuxictr": "fuxictr==2.3.10",
    "deepctr-torch": "deepctr-torch==0.3.0",
    "torch-rechub": "torch-rechub==0.9.0",
}


def main(
    out: Annotated[Path, typer.Option(help="Folder of the environments.")],
    only: Annotated[str, typer.Option(help="Which, separated by commas.")] = ",".join(PEERS),
) -> None:
    """Make what is missing."""
    for name in only.split(","):
        if name not in PEERS:
            raise typer.BadParameter(f"unknown library {name!r}; there are {', '.join(PEERS)}")
        if (out / name / "made").exists():
            continue
        print(f"{name}: {PEERS[name]}", file=sys.stderr)
        venv.create(out / name, with_pip=True, clear=True)
        pip = [out / name / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, TORCH], check=True)  # alone and first: it decides the build
        subprocess.run([*pip, TORCH, "scikit-learn", PEERS[name]], check=True)
        (out / name / "made").touch()


if __name__ == "__main__":
    typer.run(main)
