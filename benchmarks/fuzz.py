"""Mutated files over all readers: each ends well or in one clear line, in time, and nothing is left behind.

    python benchmarks/fuzz.py                          2,000 files
    python benchmarks/fuzz.py --files 200 --seed 7
    python benchmarks/fuzz.py --only csv --from 1234 --files 1      one of them again, with its traceback

A case takes the small files of one reader, changes one of them in one to three ways (structure: lines, cells, columns,
types, keys, encodings; or bytes), and reads. Wrong are: another error than a ValueError of one line, more than 5
seconds of CPU (30 of wall), panics on stderr, files that are written or changed, and a process that dies. Ends with 1
if a case is wrong.
"""

import gzip
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SECONDS = 5
Bytes = dict[str, bytes]
CELLS = (
    *(
        "",
        "nan",
        "inf",
        "-1",
        "0",
        "1",
        "1e400",
        "9" * 30,
        "-0",
        "007",
        "1.5",
        "true",
        '"',
        '""',
        "a,b",
        "a|b",
        "null",
        " ",
    ),
    *(
        "2020-13-45",
        "1/2/2020",
        "20200101",
        "1650000000000",
        "x" * 5000,
        "\u56fe\u4e66",
        "\x00",
        "[1,2]",
        "{}",
        "=cmd()",
        "../x",
    ),
)
LOG = "user_id,item_id,timestamp,click,tab\n" + "".join(
    f"{k % 7},i{k * k % 5},{1_650_000_000 + 3600 * k},{k % 3 % 2},{'ab'[k % 2]}\n" for k in range(40)
)
ITEMS = "item_id,title,genres\n" + "".join(f"i{k},Title {k},{'xyz'[k % 3]}|w\n" for k in range(5))
USERS = "user_id,age\n" + "".join(f"{k},{20 + k}\n" for k in range(7))
TOML = """name = "shop"
[interactions]
user = "user_id"
item = "item_id"
time = "timestamp"
click = "click"
non_clicks = "logged"
context = ["tab"]
[items]
title = "title"
fields = ["genres"]
[users]
fields = ["age"]
[modalities]
visual = "visual.npy"
words = { columns = ["title"], text = true, dim = 2 }
"""
RUN = """[data]
path = "shop"
history = 20
[split]
kind = "temporal"
train = 0.7
[model]
name = "din"
[train]
epochs = 2
lr = 1e-3
[evaluate]
negatives = 4
"""
HISTORY = "epoch,loss,valid_auc,seconds\n1,0.7,0.5,1.0\n2,0.6,0.55,1.1\n"


def saved(array: np.ndarray) -> bytes:
    """A matrix as the bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def parquet(text: str) -> bytes:
    """A table of text as the bytes of a Parquet file."""
    file = io.BytesIO()
    pl.read_csv(text.encode()).write_parquet(file)
    return file.getvalue()


def folder_of(write: Callable[[Path], object]) -> Bytes:
    """The files that a function writes into a folder."""
    with tempfile.TemporaryDirectory() as home:
        write(Path(home) / "it")
        return {file.name: file.read_bytes() for file in sorted((Path(home) / "it").iterdir())}


def slices():
    """Time slices of a small log."""
    from graphs import TimeSlices

    rng = np.random.default_rng(0)
    return TimeSlices.cut(
        rng.integers(0, 9, 60), rng.integers(0, 5, 60), np.sort(rng.integers(0, 500_000, 60)), every="1d"
    )


HIF = {
    "network-type": "undirected",
    "nodes": [{"node": "a", "weight": 2, "attrs": {"type": "item"}}, {"node": "b"}],
    "edges": [{"edge": "e", "weight": 0.5}, {"edge": 7}],
    "incidences": [{"edge": "e", "node": "a"}, {"edge": "e", "node": "b", "weight": 3}, {"edge": 7, "node": "a"}],
    "metadata": {"name": "small"},
}
TABLES = {"interactions.csv": LOG, "items.csv": ITEMS, "users.csv": USERS}
SHOP: Bytes = {"dataset.toml": TOML.encode(), "visual.npy": saved(np.eye(5, 3, dtype=np.float32))}


def of_format(name: str) -> Bytes:
    """Small files of a published format, from its test."""
    test = import_module(f"tests.hyperctr.data.formats.test_{name}")
    made = {
        "movielens": lambda: test.ML_25M,
        "kuaivideo": lambda: test.CHALLENGE,
        "microvideo": lambda: test.THACIL,
        "kuairand": lambda: test.FILES,
        "amazon": lambda: {"reviews_Beauty.json.gz": test.REVIEWS, "meta_Beauty.json.gz": test.META_2014},
        "tafeng": lambda: {"ta_feng_all_months_merged.csv": test.MERGED},
        "mmssl": lambda: test.FEATURES | {f"{part}.json": json.dumps({"0": [0, 2], "1": [1]}) for part in test.PARTS},
        "microlens": lambda: {"MicroLens-100k_pairs.csv": test.PAIRS, "MicroLens-100k_title_en.csv": test.TITLES},
        "lt4rec": lambda: {"part-r-1": test.RECORDS},
        "recbole": lambda: {"toy.inter": test.LOG, "toy.item": test.ITEM},
        "fuxictr": lambda: test.FILES,
    }[name]()
    found = {}
    for file, content in made.items():
        content = saved(content) if isinstance(content, np.ndarray) else content
        content = content.encode() if isinstance(content, str) else content
        found[file] = gzip.compress(content) if file.endswith(".gz") else content
    return found


# --- the readers: their small files, and how they read a folder of them ----------------------------------------------


def imported(home: Path, out: Path, file: str = "", published: str = "") -> None:
    """Import a folder or a file, and describe it, as `hyperctr data import` does."""
    from hyperctr.data.describe import describe
    from hyperctr.data.formats.convert import convert
    from hyperctr.data.read import read
    from hyperctr.data.write import import_log

    if published:
        stated = {"item": "adgroup_id", "click": "clk", "time": "time_stamp"} if published == "fuxictr" else {}
        describe(read(convert(published, home, out, stated)))
    else:
        describe(import_log(home / file if file else home, out))


def scored(home: Path) -> None:
    """Read rows to score."""
    from hyperctr.data.dataset import Dataset
    from hyperctr.data.interactions import Interactions
    from hyperctr.data.items import Items, Users
    from hyperctr.data.rows import read_rows

    log = Interactions([0, 1], [0, 1], [5, 6], [1, 1], 7, 5)
    ids = np.array([f"i{k}" for k in range(5)])
    read_rows(home / "rows.csv", Dataset("shop", log, Items(5, ids), Users(7)))


def run_file(home: Path) -> None:
    """Read a run file."""
    from hyperctr.config import read_run

    read_run(home / "run.toml")


def hif(home: Path) -> None:
    """Read HIF, packed or not."""
    from graphs import Hypergraph

    Hypergraph.from_hif(next(home.iterdir())).describe()


def npz(home: Path) -> None:
    """Read a saved hypergraph."""
    from graphs import Hypergraph

    Hypergraph.load(home / "0.npz").describe()


def slice_folder(home: Path) -> None:
    """Read a folder of time slices, and each slice."""
    from graphs import TimeSlices

    found = TimeSlices.load(home)
    for number in range(len(found)):
        found[number].describe()


def run_folder(home: Path) -> None:
    """Read what a run leaves: its report and its history; and the results of a sweep."""
    from hyperctr.experiments.results import read_results
    from hyperctr.runs import report

    report.read(home)
    report.read_history(home)
    read_results(home / "results.csv")


def text(files: dict[str, str]) -> Bytes:
    """The bytes of texts."""
    return {name: content.encode() for name, content in files.items()}


def readers() -> dict[str, tuple[Bytes, Callable[[Path, Path], None]]]:
    """The readers by name: their files, and a call with the folder of the files and a path that may be written."""
    from hyperctr.experiments.results import COLUMNS

    results = [",".join(COLUMNS), ",".join({str: "x", bool: "True"}.get(kind, "1") for kind in COLUMNS.values()), ""]
    report = json.dumps({"model": "din", "best_epoch": 2, "test": {"auc": 0.6}, "valid": {"auc": None}})
    one = folder_of(lambda path: slices().save(path))
    found: dict[str, tuple[Bytes, Callable[[Path, Path], None]]] = {
        "csv": (text(TABLES) | SHOP, imported),
        "parquet": ({name.replace(".csv", ".parquet"): parquet(x) for name, x in TABLES.items()} | SHOP, imported),
        "one table": (text({"log.csv": LOG}), lambda home, out: imported(home, out, "log.csv")),
        "rows to score": (text({"rows.csv": LOG}), lambda home, out: scored(home)),
        "run.toml": (text({"run.toml": RUN}), lambda home, out: run_file(home)),
        "hif": (text({"a.json": json.dumps(HIF, indent=1)}), lambda home, out: hif(home)),
        "hif.gz": ({"a.json.gz": gzip.compress(json.dumps(HIF).encode())}, lambda home, out: hif(home)),
        "npz": ({"0.npz": one["0.npz"]}, lambda home, out: npz(home)),
        "slices": (one, lambda home, out: slice_folder(home)),
        "run folder": (
            text({"report.json": report, "history.csv": HISTORY, "results.csv": "\n".join(results)}),
            lambda home, out: run_folder(home),
        ),
    }
    from hyperctr.data.formats import FORMATS

    for name in FORMATS:
        read = lambda home, out, name=name: imported(home, out, published=name)  # noqa: E731
        found[f"format {name}"] = (of_format(name), read)
    return found


# --- mutations -------------------------------------------------------------------------------------------------------


def mutate_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, repeat, insert or empty."""
    made, size = bytearray(content), max(1, len(content))
    match rng.integers(6):
        case 0:
            return bytes(made[: rng.integers(size)])
        case 1:
            for at in rng.integers(0, size, rng.integers(1, 9)):
                made[at : at + 1] = bytes([rng.integers(256)])
        case 2:
            at, width = rng.integers(0, size), int(rng.integers(1, 64))
            made[at : at + width] = bytes(rng.integers(0, 256, width, dtype=np.uint8))
        case 3:
            start, end = sorted(rng.integers(0, size, 2))
            made[start:start] = made[start:end]
        case 4:
            start, end = sorted(rng.integers(0, size, 2))
            del made[start:end]
        case _:
            return b"" if rng.random() < 0.2 else bytes(made[::-1]) if rng.random() < 0.2 else bytes(made) + bytes(made)
    return bytes(made)


def mutate_lines(content: bytes, rng: np.random.Generator) -> bytes:
    """Change lines or cells of a text."""
    lines = content.decode("utf-8", "replace").split("\n")
    at = int(rng.integers(len(lines)))
    separator = next((x for x in ("\t", "::", ",", ";", " ") if x in lines[0]), ",")
    cells = lines[at].split(separator)
    cell = int(rng.integers(len(cells)))
    value = str(rng.choice(np.array(CELLS, dtype=object)))
    match rng.integers(9):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[int(rng.integers(len(lines)))])
        case 2:
            cells[cell] = value
        case 3:
            del cells[cell]
        case 4:
            cells.insert(cell, value)
        case 5:  # a whole column
            lines = [
                separator.join(value if k == cell else x for k, x in enumerate(row.split(separator))) for row in lines
            ]
            return "\n".join(lines).encode("utf-8", "replace")
        case 6:
            return dressed("\n".join(lines), separator, rng)
        case 7:
            lines[at] = lines[at].replace("=", str(rng.choice(["==", ":", "", "= ["])), 1)
        case _:  # a number, a word or a quoted text
            words = re.findall(r'"[^"]*"|[\w.-]+', lines[at])
            if words:
                lines[at] = lines[at].replace(str(rng.choice(words)), value or "x", 1)
    if at < len(lines) and lines[at].split(separator) != cells and cells:
        lines[at] = separator.join(cells) if rng.random() < 0.7 else lines[at]
    return "\n".join(lines).encode("utf-8", "replace")


def dressed(content: str, separator: str, rng: np.random.Generator) -> bytes:
    """The same text with another separator, line end, encoding or packing."""
    content = content.replace(separator, str(rng.choice([";", "\t", "|", "::", " ", "  ", ", "])))
    content = content.replace("\n", str(rng.choice(["\n", "\r\n", "\r", "\n\n"])))
    encoding = str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "gbk", "utf-32"]))
    made = (content + "\u00e9" * int(rng.integers(2))).encode(encoding, "replace")
    return gzip.compress(made) if rng.random() < 0.2 else made


def mutate_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a value, a key or a part of a JSON document."""
    document = json.loads(content)
    places: list[tuple[dict | list, object]] = []

    def walk(part: object) -> None:
        for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
            places.append((part, key))
            walk(value)

    walk(document)
    if places:
        part, key = places[int(rng.integers(len(places)))]
        values = [
            None,
            True,
            -1,
            0,
            1e308,
            2**70,
            "",
            "x",
            [],
            {},
            [[]],
            {"a": {}},
            float("nan"),
            float("inf"),
            "a" * 9000,
        ]
        match rng.integers(4):
            case 0:
                del part[key]
            case 1:
                part[key] = values[int(rng.integers(len(values)))]
            case 2 if isinstance(part, dict):
                part[str(key) + "x"] = part.pop(key)
            case _:
                part[key] = json.loads(json.dumps(document))
    made = json.dumps(document)
    return made.replace('"', '"a": 1, "', 1).encode() if rng.random() < 0.05 else made.encode()


def mutate_table(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the columns of a Parquet table: types, names, numbers, values, order, or all rows."""
    table = pl.read_parquet(io.BytesIO(content))
    name = str(rng.choice(table.columns))
    column = table[name]
    count = len(table)
    kinds = {
        "float32": lambda: pl.Series(name, np.arange(count, dtype=np.float32) + 2.0**24),
        "huge": lambda: pl.Series(name, [2**64 - 1 - k for k in range(count)], dtype=pl.UInt64),
        "nan": lambda: pl.Series(name, [float("nan")] * count),
        "inf": lambda: pl.Series(name, [float("inf"), *([1.0] * (count - 1))]),
        "null": lambda: pl.Series(name, [None] * count),
        "list": lambda: pl.Series(name, [[k] for k in range(count)]),
        "struct": lambda: pl.Series(name, [{"a": k} for k in range(count)]),
        "binary": lambda: column.cast(pl.String).cast(pl.Binary),
        "category": lambda: column.cast(pl.String).cast(pl.Categorical),
        "truth": lambda: pl.Series(name, [k % 2 == 0 for k in range(count)]),
        "text": lambda: column.cast(pl.String),
        "date": lambda: pl.Series(name, np.arange(count)).cast(pl.Date),
        "duration": lambda: pl.Series(name, np.arange(count)).cast(pl.Duration("us")),
        "time": lambda: pl.Series(name, np.arange(count)).cast(pl.Time),
        "zoned": lambda: pl.Series(name, np.arange(count)).cast(pl.Datetime("ns", "Asia/Shanghai")),
        "decimal": lambda: pl.Series(name, np.arange(count)).cast(pl.Decimal(20, 3)),
        "same": lambda: pl.Series(name, [1] * count),
        "negative": lambda: pl.Series(name, -np.arange(count) - 2**62),
    }
    match rng.integers(5):
        case 0:
            table = table.drop(name)
        case 1:
            table = table.rename({name: str(rng.choice(["", "user", "x" * 300, name + " "]))})
        case 2:
            table = table.head(int(rng.integers(3)))
        case _:
            table = table.with_columns(kinds[str(rng.choice(list(kinds)))]())
    made = io.BytesIO()
    table.write_parquet(made)
    return made.getvalue()


def mutate_matrix(content: bytes, rng: np.random.Generator) -> bytes:
    """Another type, shape or value of a matrix."""
    x = np.load(io.BytesIO(content))
    made = [x[:-1], x.T, x.astype(int), x.astype(complex), x.astype("U5"), x[..., None], x * np.nan, x[:0], x[:, :0],
            np.float32(3), x.astype(np.float64), np.asfortranarray(x), x.astype(">f4"), x > 0]  # fmt: skip
    return saved(np.asarray(made[int(rng.integers(len(made)))]))


def mutated(name: str, content: bytes, rng: np.random.Generator) -> bytes:
    """Change the content of a file once, by its structure or by its bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(content, rng)
    try:
        if name.endswith(".gz"):
            return gzip.compress(mutated(name[:-3], gzip.decompress(content), rng))
        if name.endswith(".parquet"):
            return mutate_table(content, rng)
        if name.endswith(".npy"):
            return mutate_matrix(content, rng)
        if name.endswith(".json") and content[:1] in b"{[":
            return mutate_json(content, rng)
        if not name.endswith((".npz", ".h5")):
            return mutate_lines(content, rng)
    except Exception:  # noqa: BLE001, S110  an earlier change has left nothing of the structure
        pass
    return mutate_bytes(content, rng)


# --- one case --------------------------------------------------------------------------------------------------------


@contextmanager
def stderr_kept() -> Iterator[list[str]]:
    """Collect what the process writes to stderr, by Python or not."""
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said.append(file.read().decode("utf-8", "replace"))


def clocks() -> tuple[float, float]:
    """Seconds of CPU and of wall."""
    return time.process_time(), time.monotonic()


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def case(
    reader: tuple[Bytes, Callable[[Path, Path], None]], seed: int, number: int, times: int | None = None
) -> tuple[str, str]:
    """Run one case: what came out ("read", "refused" or "wrong"), and in which words; `times` are its mutations."""
    files, read = reader
    rng = np.random.default_rng((seed, number))
    name = str(rng.choice(sorted(files)))
    content = files[name]
    for _ in range(rng.integers(1, 4) if times is None else times):
        content = mutated(name, content, rng)
    with tempfile.TemporaryDirectory() as work:
        home, out = Path(work) / "in", Path(work) / "out" / "made"
        for file, what in (files | {name: content}).items():
            (home / file).parent.mkdir(parents=True, exist_ok=True)
            (home / file).write_bytes(what)
        before, start, wrong, outcome, words = listing(home), clocks(), "", "read", ""
        with stderr_kept() as said, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(home, out)
            except ValueError as error:
                outcome, words = "refused", str(error)
                if type(error) is not ValueError or "\n" in words or not words:
                    wrong = f"{type(error).__name__} {words!r}"
            except BaseException as error:  # noqa: BLE001
                last = traceback.extract_tb(error.__traceback__)[-1]
                wrong = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
                if os.environ.get("HYPERCTR_TRACEBACK"):
                    wrong += "\n" + traceback.format_exc()
        cpu, wall = (now - then for now, then in zip(clocks(), start, strict=True))
        if times != 0 and (cpu > SECONDS or wall > 6 * SECONDS):
            wrong = wrong or f"{cpu:.1f} seconds of CPU, {wall:.1f} of wall"
        if said[0].strip():
            wrong = wrong or f"stderr: {said[0].strip()[:200]!r}"
        if listing(home) != before:
            wrong = wrong or "the input was changed"
        left = [x.name for x in out.parent.rglob("*")] if out.parent.exists() else []
        if outcome == "refused" and left:
            wrong = wrong or f"left behind: {', '.join(left)}"
    return ("wrong", f"{name}: {wrong}") if wrong else (outcome, words)


def main(
    files: Annotated[int, typer.Option(help="Mutated files, in turn over the readers.", min=1)] = 2_000,
    seed: Annotated[int, typer.Option(help="Of the mutations.")] = 0,
    first: Annotated[int, typer.Option("--from", help="Number of the first case.")] = 0,
    only: Annotated[str | None, typer.Option(help="One reader.")] = None,
    worker: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run the cases in processes of their own, and print each wrong one."""
    if worker:
        warnings.simplefilter("ignore")
        known = readers()
        for name, reader in known.items() if only is None else [(only, known[only])]:
            if (found := case(reader, seed, first, times=0))[0] != "read":
                raise SystemExit(f"{name} does not read its own files: {found[1]}")
        for number in range(first, first + files):
            name = only or list(known)[number % len(known)]
            print(json.dumps([number, name]), flush=True)
            print(json.dumps(case(known[name], seed, number)), flush=True)
        return
    counts: dict[str, Counter] = {}
    number, end = first, first + files
    while number < end:
        words = [
            sys.executable,
            __file__,
            "--worker",
            "--seed",
            str(seed),
            "--from",
            str(number),
            "--files",
            str(end - number),
        ]
        process = subprocess.Popen([*words, *(["--only", only] if only else [])], stdout=subprocess.PIPE, text=True)
        name = None
        for line in process.stdout:
            found = json.loads(line)
            if isinstance(found[0], int):
                number, name = found
                continue
            counts.setdefault(name, Counter())[found[0]] += 1
            if found[0] == "wrong":
                print(f"{name}, case {number}: {found[1]}", flush=True)
            number, name = number + 1, None
        if process.wait() and name is None:
            raise SystemExit("the worker could not start")
        if name is not None:
            counts.setdefault(name, Counter())["wrong"] += 1
            print(f"{name}, case {number}: the process died ({process.returncode})", flush=True)
            number += 1
    print("| reader | read | refused | wrong |\n|---|---|---|---|")
    for name, found in sorted(counts.items()):
        print(f"| {name} | {found['read']} | {found['refused']} | {found['wrong']} |")
    raise typer.Exit(any(found["wrong"] for found in counts.values()))


if __name__ == "__main__":
    typer.run(main)
