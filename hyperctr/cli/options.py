"""Options that several commands share, and the run that they describe."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperctr import presets
from hyperctr.cli.console import print_note
from hyperctr.strict import read_toml

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the run, e.g. train.lr=3e-4.")
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Settings of one model, under those of the run file; `hyperctr models` lists the presets.",
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        metavar="temporal|paper",
        help="Split and scored rows, over those of the run file: by time, or HyperCTR's random split, which is leaky.",
    ),
]
Masks = Annotated[
    Path | None, typer.Option(help="LT4REC: a finished run whose masks are trained again, such as yesterday's.")
]
Referees = Annotated[
    bool,
    typer.Option("--referees/--no-referees", help="Fit the referees too, from ease to trees-links, on the same rows."),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Where models train and score: auto, cpu, cuda, cuda:1 or mps (train.device)."),
]
Scorer = Annotated[
    str, typer.Option("--device", metavar="NAME", help="Where the model scores: cpu, auto, cuda, cuda:1 or mps.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
Every = Annotated[str, typer.Option(help="Width of a time slice: 6h, 7d, 3mo, 1y; q8 cuts eight of equal counts.")]
ChangedData = Annotated[
    bool, typer.Option("--changed-data", help="Accept data that have changed since the training of the run began.")
]


def data_of(folder: Path) -> str | None:
    """Return where the data of a run's folder are, found from every working directory; None if that is not known."""
    from hyperctr.runs import fingerprint
    from hyperctr.runs.digest import read_written

    return fingerprint.located(read_written(folder / "run.toml"), folder).data.path


def with_masks(run: Any, masks: Path | None) -> Any:
    """Return the run with the masks of another run, for LT4REC as a model or as a wrapper."""
    from dataclasses import replace

    if masks is None:
        return run
    from hyperctr.models.lt4rec import Sharing

    for part in ("model", "wrapper"):
        if isinstance(settings := getattr(run, part), Sharing):
            return replace(run, **{part: replace(settings, masks=str(masks))})
    raise ValueError(f"--masks is for lt4rec, as model or wrapper; the run names {run.model_name}")


def on_device(sets: Iterable[str] | None, device: str | None) -> list[str]:
    """Return the words of --set with the device that --device names, if it names one."""
    return [*(sets or ()), *([] if device is None else [f"train.device={device}"])]


def run_from_options(
    path: Path | None,
    data: str | None,
    sets: list[str] | None,
    preset: str | None = None,
    protocol: str | None = None,
    default: Mapping | None = None,
) -> Any:
    """Read a run from a file or a run's folder; without either, take a preset, or the tables `default`.

    Without a file, a preset, a model and `default`, the preset is hyperctr-best, which is said in a note.
    """
    if path is not None and path.is_dir():
        from hyperctr.runs.digest import completed

        if preset is not None:
            raise ValueError(f"{path} is the folder of a run, which states every key: leave out --preset")
        tables = completed(read_toml(path / "run.toml", "run file"))
    elif path is not None:
        tables = read_toml(path, "run file")
    else:
        tables = copy.deepcopy(dict(default or {}))
        if data is None and "path" not in tables.get("data", {}):
            raise ValueError("name a run's TOML file or --data; `hyperctr data list` shows the public sets")
    taken = path is None and default is None and preset is None and not _names_model(sets or ())
    preset = presets.DEFAULT if taken else preset
    for name, read in ((preset, presets.read_preset), (protocol, presets.read_protocol)):
        if name is not None:
            read(name)  # an unknown name stops here, before torch is imported
    content = tables.setdefault("data", {})  # anything but a table is refused below
    if isinstance(content, dict):
        if data is not None:
            content["path"] = data
        from hyperctr.data import catalog

        if isinstance(where := content.get("path"), str):
            catalog.find(where)  # an unknown data set stops here, before torch is imported
    from hyperctr import config

    run = config.read_run(tables, sets or (), preset, protocol)
    if taken:
        print_note(f"no run file and no model.name: the preset {preset} (`hyperctr config --preset {preset}`)")
    return run


def _names_model(sets: Iterable[str]) -> bool:
    """Say whether a word of `--set` names the model."""
    return any(word.partition("=")[0].strip() in ("model", "model.name") for word in sets)
