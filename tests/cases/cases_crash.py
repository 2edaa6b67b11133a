"""Part B: what once crashed or did not end. Part D: damaged files, and data that changed after training."""

import contextlib
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch
from case_bench import START, Case, at_most, call, full_disk, inside, rows, tiny, write

import hyperctr
from graphs import Hypergraph, TimeSlices
from graphs.build import from_groups


class Stop(Exception):
    """Ends a training after a validation, as a kill would."""


ROOT = Path(__file__).resolve().parents[2]


def b1_search_without_optuna(case: Case):
    """A search without the package it needs ends in one line that names what to install; the README says it too."""
    shop = write(case.folder / "shop", rows())
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "optuna"}
    for name in kept:
        del sys.modules[name]
    sys.modules["optuna"] = None  # importing it fails now
    try:
        words = (
            "search",
            "--data",
            shop,
            *tiny("din", "wrapper.name=aqcl"),
            "--trials",
            1,
            "--out",
            case.folder / "out",
        )
        done = call(*words)
    finally:
        del sys.modules["optuna"]
        sys.modules.update(kept)
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    case.check(done.code == 2 and len(errors) == 1, f"search without optuna ended with {done.code}: {done.last}")
    case.check("pip install" in done.err and "optuna" in done.err, f"it is not said what to install: {done.last}")
    case.check(not (case.folder / "out").exists(), "search without optuna wrote its folder")
    readme = (ROOT / "README.md").read_text()
    near = readme[readme.find("hyperctr search") - 1500 :][:3000] if "hyperctr search" in readme else ""
    case.check("hyperctr[" in near or "optuna" in near, "the README shows `hyperctr search` and not what it needs")


def b2_empty_words_and_wrong_types(case: Case):
    """Empty times, numbers where text is needed, slices of slices and dicts end in clear words, or work."""
    shop = write(case.folder / "shop", rows(), None, '[modalities]\nlook = { columns = ["group"], dim = 4 }',
                 items={"item_id": 100 + np.arange(10), "group": list("aabbccddee")})  # fmt: skip
    for word in ("", " ", "soon"):
        case.refused("graph", "build", "--data", shop, "--out", case.folder / "g", "--upto", word, says=("upto",),
                     absent=case.folder / "g")  # fmt: skip
    run = case.folder / "run"
    case.works("train", "--data", shop, "--out", run, *tiny("hyperctr"))
    for word in ("", " ", "soon"):
        case.refused("explain", run, "--user", 1, "--item", 101, "--at", word, says=("at",))
    case.refused(
        "sweep", "--data", shop, "--every", "", "--out", case.folder / "s", says=("every",), absent=case.folder / "s"
    )
    case.refused(
        "graph",
        "build",
        "--data",
        shop,
        "--every",
        "",
        "--out",
        case.folder / "g",
        says=("6h",),
        absent=case.folder / "g",
    )
    pairs = {"nodes": [0, 1, 1], "hyperedges": [0, 0, 1], "times": [0, 1, 90_000]}
    for every in (7, 7.0, None, "", ["1d"]):
        case.raises(lambda every=every: TimeSlices.cut(**pairs, every=every), "every", what=f"every={every!r}")
    slices = TimeSlices.cut(**pairs, every="1d")
    try:
        part = slices[0:1]
        case.equal([h.num_incidences for h in part], [2], "slices[0:1]")
    except (TypeError, IndexError, ValueError) as error:
        good = "slice" in str(error) and not any(word in str(error) for word in ("not supported between", "NoneType"))
        case.check(good, f"slices[0:1]: {type(error).__name__}: {error}")
    for wrong in ("a", 1.5):
        case.raises(lambda wrong=wrong: slices[wrong], what=f"slices[{wrong!r}]")
    for groups in ({"a": [0, 1]}, {0: [0, 1]}, [0, 1], "ab", [["a", "b"]]):
        case.raises(lambda groups=groups: from_groups(groups), what=f"from_groups({groups!r})")
    for wrong in ([[0, 1], [1, 2]], torch.zeros(2, 3), "file.npz", None):
        case.raises(lambda wrong=wrong: Hypergraph(wrong), "from_", what=f"Hypergraph({str(wrong)[:20]})")


def b3_too_many_threads(case: Case):
    """A number of threads that no machine has is refused before anything is written."""
    shop = write(case.folder / "shop", rows())
    for count in (99_999, 10**7, 2**40):
        tables = {"data": {"path": str(shop)}, "model": {"name": "lr"}, "train": {"threads": count}}
        case.raises(lambda tables=tables: hyperctr.read_run(tables), "threads", what=f"train.threads = {count}")
        if not case.wrong:  # else the next line may end this process
            out = case.folder / "run"
            case.refused(
                "train",
                "--data",
                shop,
                "--out",
                out,
                *tiny("lr", f"train.threads={count}"),
                says=("threads",),
                absent=out,
            )
    if not case.wrong:
        case.works("train", "--data", shop, "--out", case.folder / "two", *tiny("lr", "train.threads=2"))


def b4_a_full_disk(case: Case):
    """Where nothing more can be written, each command ends in one line, and no half of a file is left."""
    shop = write(case.folder / "shop", rows(400))
    run = case.folder / "run"
    case.works("train", "--data", shop, "--out", run, *tiny("deepfm"))
    table = pl.DataFrame({"user_id": [1] * 400, "item_id": [101] * 400, "timestamp": [START + 10**6] * 400})
    table.write_csv(case.folder / "in.csv")
    scores = ("predict", run, "--input", case.folder / "in.csv")
    left = {
        "train": (("train", "--data", shop, "--out", case.folder / "r2", *tiny("deepfm")), "r2/weights.safetensors"),
        "predict to csv": ((*scores, "--output", case.folder / "o.csv"), "o.csv"),
        "predict to parquet": ((*scores, "--output", case.folder / "o.parquet"), "o.parquet"),
        "evaluate --out": (("evaluate", run, "--out", case.folder / "e.csv"), "e.csv"),
        "data import": (("data", "import", shop, "--out", case.folder / "copy"), "copy"),
        "graph build": (("graph", "build", "--data", shop, "--every", "1d", "--out", case.folder / "graphs"), "graphs"),
    }  # fmt: skip
    for name, (words, path) in left.items():
        with full_disk(600):
            done = call(*words)
        case.check(done.code == 2 and done.last.startswith("error: "), f"{name}: ended with {done.code}: {done.last}")
        case.check(not (case.folder / path).exists(), f"{name}: {path} is there, and cannot be whole")
        case.check("Error" not in done.last, f"{name}: {done.last}")
    parts = [path.name for path in case.folder.rglob(".*") if path.is_file() and "lock" not in path.name]
    case.check(not parts, f"hidden parts are left: {parts}")
    h = Hypergraph.from_pairs(np.arange(1000), np.zeros(1000, int))
    for name, save in (("save", h.save), ("to_hif", h.to_hif)):
        with full_disk(600):
            try:
                save(case.folder / f"{name}.npz")
                case.check(False, f"Hypergraph.{name} says nothing on a full disk")
            except (OSError, ValueError):
                case.check(not (case.folder / f"{name}.npz").exists(), f"Hypergraph.{name} left half a file")


def b5_far_apart_events(case: Case):
    """Events in 1903 and 2100 cost what their few slices cost, in describe, draw, plan, build and TimeSlices."""
    times = ["1903-01-01", "1903-01-02", "2024-05-01", "2100-01-01", "2100-01-02"]
    log = {
        "user_id": [1, 2, 1, 2, 1] * 4,
        "item_id": [5, 6, 7, 5, 6] * 4,
        "timestamp": sorted(times * 4),
        "click": [1, 0] * 10,
    }
    shop = write(case.folder / "shop", log)
    for every in ("1d", "1h"):
        out = case.folder / f"graphs-{every}"
        case.works("graph", "build", "--data", shop, "--every", every, "--out", out, "--upto", "2100-02-01", seconds=10)
        if out.exists():
            done = case.works("graph", "describe", out, seconds=10)
            case.check(len(done.out.splitlines()) < 100, f"describe prints {len(done.out.splitlines())} lines")
            case.works("graph", "draw", out, "--out", case.folder / f"figures-{every}", seconds=40)
        case.works("plan", "--data", shop, *tiny("hyperctr", f"slices.every={every}"), seconds=10)
    at = np.array(times, "datetime64[us]")
    try:
        with at_most(5):
            slices = TimeSlices.cut(nodes=np.arange(5), hyperedges=np.arange(5), times=at, every="1h")
            case.check(slices.describe(), "TimeSlices.describe")
            case.check(str(slices) and repr(slices), "TimeSlices as text")
    except BaseException as error:
        case.check(False, f"TimeSlices over 197 years by the hour: {type(error).__name__}: {error}")
    case.works("data", "describe", shop, seconds=5)


def b6_a_title_of_a_megabyte(case: Case):
    """An item title of 1 MB does not stop explain, describe or a picture."""
    titles = ["x" * 1_000_000, "y " * 500_000, "line\nbreak", "<b>$a_b^c$</b>", "", *map(str, range(5))]
    items = {"item_id": 100 + np.arange(10), "title": titles, "group": list("aabbccddee")}
    more = '[items]\ntitle = "title"\n[modalities]\nlook = { columns = ["group"], dim = 4 }'
    shop, run = write(case.folder / "shop", rows(), None, more, items=items), case.folder / "run"
    case.works("train", "--data", shop, "--out", run, *tiny("hyperctr"))
    picture = case.folder / "why.png"
    for item in (100, 101):
        done = case.works("explain", run, "--user", 1, "--item", item, "--top", 3, "--out", picture, seconds=15)
        case.check(len(done.out) < 50_000, f"explain prints {len(done.out)} characters")
        case.check(picture.exists() and picture.stat().st_size < 10**7, "the picture")
    case.works("data", "describe", shop, seconds=10)
    case.works("graph", "build", "--data", shop, "--every", "1d", "--out", case.folder / "graphs", seconds=20)
    case.works("graph", "draw", case.folder / "graphs", "--out", case.folder / "figures", seconds=30)


def b7_audit_of_masks(case: Case):
    """Audit opens a run that LT4REC's masks stay around, and finds no leak."""
    log = rows(400, bought=lambda rng, n: rng.integers(2, size=n))
    shop, run = write(case.folder / "shop", log, {"conversion": '"bought"'}), case.folder / "run"
    sets = ("wrapper.name=lt4rec", "wrapper.rounds=1")
    case.works("train", "--data", shop, "--out", run, *tiny("din", *sets))
    case.works("audit", run, "--rows", 10, "--cuts", 1)
    case.works("evaluate", run)


def b8_one_folder_one_process(case: Case):
    """A run folder that is being trained refuses a second training, and says so."""
    shop, out = write(case.folder / "shop", rows()), case.folder / "run"
    found = []

    def second(_row):
        found.append(call("train", "--data", shop, "--out", out, *tiny("lr")))

    words = [word for word in tiny("lr") if word != "--set"]
    run = hyperctr.read_run({"data": {"path": str(shop)}, "model": {"name": "lr"}}, words)
    hyperctr.train(run, out, log=second)
    case.check(found and found[0].code == 2, f"a second training in the same folder: {found and found[0]}")
    case.check(
        found and "error: " in found[0].last and str(out.name) in found[0].last, f"it says {found and found[0].last}"
    )
    case.works("evaluate", out)


def b9_files_that_the_readme_names(case: Case):
    """The hypergraph file that the README opens exists for the data set that the README builds."""
    readme = (ROOT / "README.md").read_text()
    from hyperctr.data.catalog import KNOWN

    known = {"group", *KNOWN["ml-100k"].get("modalities", {})}
    named = re.findall(r"graphs-30d/\d+-(?:users|items)-([\w-]+)\.npz", readme)
    case.check(named, "the README opens no hypergraph of graphs-30d")
    for name in named:
        case.check(name in known, f"README names a file of the modality {name!r}; ML-100K has {sorted(known)}")


def d2_data_that_changed_after_training(case: Case):
    """A run knows its data: what differs is named and refused, unless asked for, by each command that opens it."""
    log = rows(300, tab=lambda rng, n: rng.integers(3, size=n))
    items = {"item_id": 100 + np.arange(10), "group": list("aabbccddee")}
    shop, run = case.folder / "shop", case.folder / "run"
    more = '[items]\nfields = ["group"]'

    def put(log=log, items=items):
        write(shop, log, {"context": '["tab"]'}, more, items=items)
        np.save(shop / "photo.npy", np.eye(10, 3, dtype=np.float32) + 1)

    put()
    case.works("train", "--data", shop, "--out", run, *tiny("deepfm"))
    case.works("evaluate", run)
    table = pl.DataFrame({"user_id": [1], "item_id": [101], "timestamp": [START + 10**7], "tab": [1]})
    table.write_csv(case.folder / "in.csv")
    flipped = log["click"].copy()
    flipped[:5] = 1 - flipped[:5]
    new = log["user_id"].copy()
    new[-1] = 77
    other_groups = {"item_id": items["item_id"], "group": list("eeddccbbaa")}
    changed = {
        "labels flipped": ({"log": log | {"click": flipped}}, "click"),
        "rows cut": ({"log": {name: column[:-20] for name, column in log.items()}}, "280"),
        "a new id": ({"log": log | {"user_id": new}}, "user"),
        "other times": ({"log": log | {"timestamp": log["timestamp"] + 1}}, "time"),
        "another context": ({"log": log | {"tab": (log["tab"] + 1) % 3}}, "tab"),
        "other item fields": ({"items": other_groups}, "group"),
    }
    for tables, word in changed.values():
        put(**tables)
        case.refused("evaluate", run, says=(word, "changed"))
    case.refused("audit", run, "--rows", 10, "--cuts", 1, says=("changed",))
    scores = ("predict", run, "--input", case.folder / "in.csv", "--output", case.folder / "o.csv")
    case.refused(*scores, says=("changed",))
    case.raises(lambda: hyperctr.open_run(run), "changed", what="open_run on data that changed")
    case.check(not (case.folder / "o.csv").exists(), "predict wrote scores from data that changed")
    put()
    np.save(shop / "photo.npy", np.eye(10, 3, dtype=np.float32))
    case.refused("evaluate", run, says=("photo",))
    put(log=log | {"click": flipped})
    case.works("evaluate", run, "--changed-data")
    put()
    case.works("evaluate", run)
    killed, words = case.folder / "killed", tiny("deepfm", "train.epochs=3")

    def stop(row):
        if row["epoch"] >= 2:
            raise Stop

    settings = [word for word in words if word != "--set"]
    described = hyperctr.read_run({"data": {"path": str(shop)}, "model": {"name": "deepfm"}}, settings)
    with contextlib.suppress(Stop):
        hyperctr.train(described, killed, log=stop)
    put(log=log | {"click": flipped})
    case.refused("train", "--data", shop, "--out", killed, *words, says=("click", "changed"))
    put()
    done = case.works("train", "--data", shop, "--out", killed, *words)
    case.check(
        "continu" in done.err.lower() or "resum" in done.err.lower(), "nothing says that a killed run is continued"
    )


def d10_damaged_files(case: Case):
    """A short Parquet, a damaged .npz, an empty HIF, a history without a column: one clear line."""
    log = pl.DataFrame(rows())
    log.write_parquet(case.folder / "whole.parquet")
    whole = (case.folder / "whole.parquet").read_bytes()
    for size in (0, 3, 4, 12, 200, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        short = case.folder / "short.parquet"
        short.write_bytes(whole[:size])
        case.refused(
            "data", "import", short, "--out", case.folder / "x", says=("short.parquet",), absent=case.folder / "x"
        )
    middle = bytearray(whole)
    middle[len(whole) // 3 : len(whole) // 2] = b"\xff" * (len(whole) // 2 - len(whole) // 3)
    (case.folder / "middle.parquet").write_bytes(middle)
    case.refused("data", "import", case.folder / "middle.parquet", "--out", case.folder / "x", says=("middle.parquet",))
    h = Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1])
    h.save(case.folder / "h.npz")
    packed, bad = (case.folder / "h.npz").read_bytes(), case.folder / "bad.npz"
    for size in (0, 5, len(packed) // 2, len(packed) - 10):
        bad.write_bytes(packed[:size])
        case.raises(lambda: Hypergraph.load(bad), "bad.npz", what=f"an .npz of {size} bytes")
    for place in range(0, len(packed), max(1, len(packed) // 12)):
        broken = bytearray(packed)
        broken[place] ^= 0x55
        bad.write_bytes(broken)
        try:
            Hypergraph.load(bad)
        except ValueError:
            pass
        except Exception as error:
            case.check(False, f"an .npz with byte {place} changed: {type(error).__name__}: {error}")
    case.raises(lambda: Hypergraph.load(case.folder), what="a folder as .npz")
    for source in (
        "",
        " ",
        b"",
        {},
        [],
        "{",
        "[]",
        "null",
        b"\x1f\x8b",
        case.folder,
        case.folder / "none.json",
        7,
        None,
    ):
        case.raises(lambda source=source: Hypergraph.from_hif(source), what=f"from_hif({str(source)[-12:]!r})")
    shop, run = write(case.folder / "shop", log.to_dict()), case.folder / "run"
    settings = [word for word in tiny("lr", "train.epochs=3") if word != "--set"]
    described = hyperctr.read_run({"data": {"path": str(shop)}, "model": {"name": "lr"}}, settings)

    def stop(row):
        if row["epoch"] >= 2:
            raise Stop

    for name, spoil in {
        "no column epoch": lambda text: re.sub(r"(?m)^epoch,|^[\d.]+,", "", text),
        "empty": lambda text: "",
        "a word in place of a number": lambda text: text.replace("\n1", "\none", 1),
        "bytes": lambda text: "\x00\xff\xfe",
    }.items():
        shutil.rmtree(run, ignore_errors=True)
        with contextlib.suppress(Stop):
            hyperctr.train(described, run, log=stop)
        history = run / "history.csv"
        history.write_text(spoil(history.read_text()))
        done = call("train", "--data", shop, "--out", run, *tiny("lr", "train.epochs=3"))
        good = done.code == 0 or (done.code == 2 and "history.csv" in done.last)
        case.check(good, f"history.csv with {name}: ended with {done.code}: {done.last}")
    for name, spoil in {
        "report.json": b'{"test": ',
        "run.toml": b"[data\n",
        "weights.safetensors": b"\x10\x00",
    }.items():
        shutil.rmtree(run, ignore_errors=True)
        case.works("train", "--data", shop, "--out", run, *tiny("lr"))
        (run / name).write_bytes(spoil)
        case.refused("evaluate", run, says=(name,))
    photo = write(case.folder / "photos", log.to_dict(), items={"item_id": 100 + np.arange(10)})
    np.save(photo / "photo.npy", np.ones((10, 3), np.float32))
    matrix = (photo / "photo.npy").read_bytes()
    for size in (0, 6, 50, len(matrix) - 4):
        (photo / "photo.npy").write_bytes(matrix[:size])
        case.refused("data", "describe", photo, says=("photo.npy",))
    with inside(case.folder):
        Path("results.csv").write_text("model,seed\nmf,1\n")
        case.refused("report", ".", says=("results.csv",))
