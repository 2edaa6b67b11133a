"""Part C: files in other shapes, and messages that left a user without the next step."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import signal
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
from case_bench import START, Case, call, inside, is_strict_json, rows, tiny, write

import hyperctr

NAMED = ("--user", "user_id", "--item", "item_id", "--time", "timestamp", "--click", "click")


def _text(separator: str, end: str = "\n", header: bool = True) -> str:
    log = rows(60)
    lines = [separator.join(map(str, line)) for line in zip(*log.values(), strict=True)]
    return end.join(([separator.join(log)] if header else []) + lines) + end


def _columns(dataset) -> list:
    log = dataset.interactions
    ids = dataset.users.ids[log.user].tolist(), dataset.items.ids[log.item].tolist()
    return [*ids, log.time.tolist(), log.label.tolist()]


def c1_tables_in_other_shapes(case: Case):
    """Other separators, packings, encodings, line ends and wrong names are read as what they are, and it is said."""
    plain = case.folder / "plain.csv"
    plain.write_text(_text(","))
    case.works("data", "import", plain, "--out", case.folder / "plain", *NAMED)
    right = _columns(hyperctr.load_dataset(case.folder / "plain"))
    zipped, parquet = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("log.csv", _text(","))
    pl.DataFrame(rows(60)).write_parquet(parquet)
    base = _text(",").encode()
    shapes = {
        "semicolons.csv": _text(";").encode(), "bars.csv": _text("|").encode(), "colons.dat": _text("::").encode(),
        "blanks.txt": _text(" ").encode(), "tabs.csv": _text("\t").encode(), "log.csv.gz": gzip.compress(base),
        "gzip.csv": gzip.compress(base), "bz2.csv": bz2.compress(base), "xz.csv": lzma.compress(base),
        "zip.csv": zipped.getvalue(), "log.zip": zipped.getvalue(), "parquet.csv": parquet.getvalue(),
        "csv.parquet": base, "cr.csv": _text(",", "\r").encode(), "crlf.csv": _text(",", "\r\n").encode(),
        "utf16.csv": _text(",").encode("utf-16"), "bom.csv": b"\xef\xbb\xbf" + base,
        "gzip-parquet.csv": gzip.compress(parquet.getvalue()), "quoted.csv": re.sub(rb"(\d+)", rb'"\1"', base),
        "no-end.csv": base.rstrip(b"\n"), "spaces.csv": _text(", ").encode(), "noname": base,
    }  # fmt: skip
    for name, content in shapes.items():
        (case.folder / name).write_bytes(content)
        out = case.folder / f"read-{name}"
        done = call("data", "import", case.folder / name, "--out", out, *NAMED)
        if case.check(done.code == 0, f"{name}: {done.code}: {done.last}"):
            case.check(_columns(hyperctr.load_dataset(out)) == right, f"{name} was read as other rows")
    for name in ("bars.csv", "log.csv.gz", "parquet.csv", "cr.csv", "utf16.csv"):
        done = call("data", "import", case.folder / name, "--out", case.folder / f"again-{name}", *NAMED)
        case.check(name in done.text, f"{name}: what was recognised is not said")
    for separator in (",", "\t", "::"):
        (case.folder / "bare.txt").write_text(_text(separator, header=False))
        words = [w.replace("user_id", "column_1").replace("item_id", "column_2").replace("timestamp", "column_3")
                 if not w.startswith("--") else w for w in NAMED[:6]]  # fmt: skip
        out = case.folder / f"bare-{ord(separator[0])}"
        done = call("data", "import", case.folder / "bare.txt", "--out", out, *words, "--click", "column_4")
        if case.check(done.code == 0, f"no header, {separator!r}: {done.last}"):
            case.check(
                _columns(hyperctr.load_dataset(out)) == right, f"no header, {separator!r}: the first row is lost"
            )
        done = case.refused(
            "data", "import", case.folder / "bare.txt", "--out", case.folder / "bare", absent=case.folder / "bare"
        )
        case.check("header" in done.err or "column_1" in done.err, f"a missing header is not named: {done.last}")


def c2_tables_that_cannot_be_read_with_certainty(case: Case):
    """Unknown encodings, decimal commas and ragged lines are read rightly, or named with the line and a remedy."""
    named = rows(60) | {"city": ["Zürich", "北京"] * 30}
    lines = [",".join(map(str, line)) for line in zip(*named.values(), strict=True)]
    text = "\n".join([",".join(named), *lines]) + "\n"
    shapes = {
        "latin1.csv": (text.replace("北京", "Köln").encode("latin-1"), ("encoding", "utf-8", "iconv")),
        "gbk.csv": (text.replace("Zürich", "上海").encode("gbk"), ("encoding", "utf-8", "iconv")),
        "utf16-bare.csv": (text.encode("utf-16-le"), ("utf-16",)),
    }
    for name, (content, words) in shapes.items():
        (case.folder / name).write_bytes(content)
        out = case.folder / f"read-{name}"
        done = case.refused("data", "import", case.folder / name, "--out", out, says=(name,), absent=out)
        case.check(any(word in done.err.lower() for word in words), f"{name}: no word of its encoding: {done.last}")
        case.check("line" in done.err or "byte" in done.err, f"{name}: the place is not named: {done.last}")
    good = _text(",").splitlines()
    ragged = {
        "more.csv": [*good[:7], good[7] + ",9", *good[8:]],
        "fewer.csv": [*good[:7], good[7].rpartition(",")[0], *good[8:]],
        "quote.csv": [*good[:7], '"' + good[7], *good[8:]], "late.csv": [*good[:60], good[60] + ",9,9"],
    }  # fmt: skip
    for name, content in ragged.items():
        (case.folder / name).write_text("\n".join(content) + "\n")
        out = case.folder / f"read-{name}"
        done = case.refused("data", "import", case.folder / name, "--out", out, says=(name,), absent=out)
        line = "61" if name == "late.csv" else "8"
        quote = name == "quote.csv" and "quote" in done.err
        case.check(quote or re.search(rf"\b{line}\b", done.err), f"{name}: line {line} is not named: {done.last}")
    comma = [
        "user_id;item_id;timestamp;rating",
        *(f"{k % 7};{k % 5};{START + k * 60};{1 + k % 5},5" for k in range(60)),
    ]
    (case.folder / "comma.csv").write_text("\n".join(comma) + "\n")
    out = case.folder / "comma"
    done = call(
        "data", "import", case.folder / "comma.csv", "--out", out, "--click", "rating", "--click-at-least", "4.5"
    )
    if done.code == 0:
        case.equal(
            int(hyperctr.load_dataset(out).interactions.label.sum()), 24, "clicks of ratings with decimal commas"
        )
    else:
        case.check("comma" in done.last and done.code == 2, f"decimal commas: {done.last}")
    (case.folder / "two.csv").write_text("user_id,item_id,timestamp,click,click\n1,2,3,1,0\n")
    case.refused("data", "import", case.folder / "two.csv", "--out", case.folder / "two", says=("click", "twice"))
    for name, content, word in (("a.csv", b"\x80\x04\x95junk", "pickle"), ("b.csv", b"\x89HDF\r\n\x1a\n", "hdf5"),
                                ("c.csv", b'{"user": 1}\n', "json"), ("d.csv", b"PK\x05\x06" + bytes(18), "zip"),
                                ("e.csv", b"", "empty")):  # fmt: skip
        (case.folder / name).write_bytes(content)
        case.refused(
            "data",
            "import",
            case.folder / name,
            "--out",
            case.folder / "x",
            says=(name, word),
            absent=case.folder / "x",
        )
    for folder in ("data", "predict"):
        shop = write(case.folder / f"shop-{folder}", rows())
        if folder == "data":
            (shop / "interactions.csv").write_bytes(shapes["latin1.csv"][0])
            case.refused("data", "describe", shop, says=("interactions.csv",))
        else:
            case.works("train", "--data", shop, "--out", case.folder / "run", *tiny("mf"))
            for name in ("latin1.csv", "more.csv", "fewer.csv"):
                out = case.folder / "o.csv"
                words = ("predict", case.folder / "run", "--input", case.folder / name, "--output", out)
                case.refused(*words, says=(name,), absent=out)


def c3_shares_of_a_split(case: Case):
    """Train prints the rows and realised shares of the three parts, and leaves them in the report."""
    log = rows() | {"timestamp": START + 86400 * (np.arange(240) // 48)}  # five days: 60 % for training
    shop, run = write(case.folder / "shop", log), case.folder / "run"
    done = case.works("train", "--data", shop, "--out", run, *tiny("popularity"))
    case.check(
        re.search(r"train\D{0,20}144\D{1,5}60(\.0)?\s?%", done.text),
        f"realised shares are not printed: {done.text[-400:]}",
    )
    report = (run / "report.json").read_text()
    case.check("0.6" in report, "the report has no realised shares")


def c4_words_in_messages(case: Case):
    """Messages show plain numbers and right articles."""
    log = rows()
    log["item_id"] = [None, *log["item_id"][1:].tolist()]
    log["user_id"] = [*log["user_id"][:-2].tolist(), None, None]
    shop = write(case.folder / "shop", log)
    done = case.works("data", "describe", shop)
    case.check("without an item" in done.text and "without a user" in done.text, f"articles: {done.text[-300:]}")
    items = {"item_id": np.array([101, 101, 102])}
    for tables in ({"items": items}, {"items": {"item_id": np.array([101, 102])}}):
        write(shop, rows(), **tables)
        done = call("data", "describe", shop)
        case.check(done.code == 2 and "np." not in done.err and "a item" not in done.err, f"message: {done.last}")
    for path in sorted(Path(hyperctr.__file__).parent.rglob("*.py")):
        case.check(not re.search(r"\ba (item|hour|id)\b", path.read_text()), f"{path.name} has a wrong article")
    bad = {
        "user": np.array([0, 3]), "item": np.array([0, 0]), "time": np.array([0, 1]), "label": np.array([1.0, 0.0]),
        "num_users": 2, "num_items": 1,
    }  # fmt: skip
    from hyperctr.data.interactions import Interactions

    case.raises(lambda: Interactions(**bad), "user", what="a user out of range")


def c5_which_key_differs(case: Case):
    """A folder that holds another run names the keys that differ, with both values."""
    shop, out = write(case.folder / "shop", rows()), case.folder / "run"
    case.works("train", "--data", shop, "--out", out, *tiny("lr"))
    case.refused("train", "--data", shop, "--out", out, *tiny("lr", "train.lr=0.5"), says=("train.lr", "0.5"))
    case.refused("train", "--data", shop, "--out", out, *tiny("fm"), says=("model.name", "lr", "fm"))
    case.refused(
        "train",
        "--data",
        shop,
        "--out",
        out,
        *tiny("lr", "data.history=7", "train.seed=3"),
        says=("data.history", "train.seed"),
    )


def c6_the_first_interrupt_and_resuming(case: Case):
    """Ctrl-C says that the same command continues, exit code 130; the next call says from where it continues."""
    shop, out = write(case.folder / "shop", rows(3000, users=60)), case.folder / "run"
    words = ("train", "--data", shop, "--out", out, *tiny("din", "train.epochs=300", "train.patience=300"))
    stop = threading.Event()

    def interrupt():
        while not stop.is_set():
            if (out / "checkpoint.safetensors").exists():
                os.kill(os.getpid(), signal.SIGINT)
                return
            stop.wait(0.01)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        done = call(*words, seconds=20)
    finally:
        stop.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    case.equal(done.code, 130, "exit code after Ctrl-C")
    last = done.err.strip().splitlines()[-1:] or [""]
    case.check("continu" in last[0] or "again" in last[0], f"the last line after Ctrl-C: {last}")
    case.check("Traceback" not in done.err, "Ctrl-C ends in a traceback")
    done = call(*words, seconds=4)
    first = "\n".join(done.err.splitlines()[:8]).lower()
    case.check("continu" in first or "resum" in first, f"resuming is not said: {first[:200]}")
    case.check(re.search(r"epoch \d", first), "it is not said from which epoch")


def c7_validation_moves_the_bar(case: Case):
    """While validation runs, the progress shows validation and moves."""
    shop = write(case.folder / "shop", rows())
    seen: dict[str, list] = {}

    def progress(batches, what, total):
        seen.setdefault(what, [0, total])
        for batch in batches:
            yield batch
            seen[what][0] += 1

    words = [word for word in tiny("lr") if word != "--set"]
    hyperctr.train(hyperctr.read_run({"data": {"path": str(shop)}, "model": {"name": "lr"}}, words), progress=progress)
    found = [name for name in seen if "valid" in name.lower()]
    case.check(found and all(seen[name][0] for name in found), f"progress knows {sorted(seen)} alone")


def c8_data_that_is_here(case: Case):
    """Data get does not fetch what is there; it says so and prints the folder."""
    from hyperctr.data import download

    here = write(case.folder / "home" / "ml-100k", rows())
    kept = os.environ.get("HYPERCTR_DATA")
    os.environ["HYPERCTR_DATA"] = str(case.folder / "home")
    fetched = []
    real = download.download, download.download_wheel

    def refuse(*words):
        fetched.append(words)
        raise OSError("no network")

    download.download = download.download_wheel = refuse
    try:
        done = case.works("data", "get", "ml-100k")
        case.check(str(here) in done.out, f"it prints {done.out!r}")
        case.check("here" in done.err or "already" in done.err or "there" in done.err, f"it says {done.err!r}")
        case.check(not fetched, "it tried to fetch a data set that is there")
    finally:
        download.download, download.download_wheel = real
        os.environ.pop("HYPERCTR_DATA") if kept is None else os.environ.update(HYPERCTR_DATA=kept)


def c9_a_name_that_is_no_data_set_yet(case: Case):
    """A known set that is not here says how to get it; it is not its own nearest name."""
    kept = os.environ.get("HYPERCTR_DATA")
    os.environ["HYPERCTR_DATA"] = str(case.folder)
    try:
        for name in ("planted", "ml-100k", "ml-1m", "kuairand-pure"):
            done = case.refused("data", "describe", name, says=(name,))
            case.check(f"mean '{name}'" not in done.err and f'mean "{name}"' not in done.err, f"{name}: {done.last}")
        case.refused("data", "describe", "planted", says=("data get planted",))
        case.refused("data", "describe", "ml-100k", says=("data get ml-100k",))
        case.refused("data", "describe", "ml-10k", says=("mean", "ml-100k"))
    finally:
        os.environ.pop("HYPERCTR_DATA") if kept is None else os.environ.update(HYPERCTR_DATA=kept)


def c10_the_demo(case: Case):
    """The demo prints no Python warning, and heads the way to the learnable score as such."""
    from hyperctr.experiments import demo

    small = {name: {**settings, "train": settings["train"] | {"epochs": 1}} for name, settings in demo.RUNS.items()}
    real, world, referees = demo.RUNS, demo.synthetic.planted, demo.REFEREES
    demo.RUNS, demo.synthetic.planted = small, lambda preset, seed, scale: world(preset, seed, scale=0.05)
    demo.REFEREES = ("ease",)
    lines = []
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            demo.planted(0, lines.append, lambda batches, what, total: batches)
    finally:
        demo.RUNS, demo.synthetic.planted, demo.REFEREES = real, world, referees
    own = [str(w.message) for w in found if issubclass(w.category, UserWarning | RuntimeWarning | FutureWarning)]
    case.check(not own, f"the demo warns: {own[:2]}")
    head = " ".join(line for line in lines if "AUC" in line and "logloss" in line)
    case.check("learnable" in head and "way to ceiling" not in head, f"heads of the table: {head}")
    case.check(any(line.startswith("ease ") for line in lines), "the demo has no row of a referee")


def c11_a_run_file_says_what_is_used(case: Case):
    """The run.toml that a run leaves shows no setting as used that the run does not read."""
    shop, run = write(case.folder / "shop", rows()), case.folder / "run"
    case.works("train", "--data", shop, "--out", run, *tiny("din"))
    text = (run / "run.toml").read_text()
    comments = " ".join(line for line in text.splitlines() if line.startswith("#"))
    for key, shown_as in (("train.negatives", "negatives = 1"), ("[slices]", "[slices]"), ("[interest]", "[interest]")):
        case.check(
            shown_as not in text or key in comments, f"run.toml states {shown_as}, which is not read, without a word"
        )
    case.check("not read" in comments or comments == "", f"run.toml says {comments!r}")
    case.works("evaluate", run)
    case.works("train", run / "run.toml", "--data", shop, "--out", case.folder / "again")
    case.equal((case.folder / "again" / "run.toml").read_text(), text, "run.toml of the same run from its own run.toml")


def c12_names_of_run_folders(case: Case):
    """Folders that a sweep or a study makes have plain names, without blanks or equal signs."""
    from hyperctr.experiments.sweep import Cell
    from hyperctr.runs.parallel import folder_of

    cells = (Cell("hyperctr", "1d", 2, 0), Cell("popularity", "", None, 3), Cell("mine.py:Mine", "q8", 0, 1))
    words = [*(cell.name for cell in cells), "GCN in group seed=1", "w1=0.5 / w2"]
    names = [folder_of(case.folder, word).name for word in words]
    for name in names:
        case.check(re.fullmatch(r"[\w.+-]+", name), f"a folder is called {name!r}")
    case.equal(len(set(names)), len(words), "folders of different runs")


def c13_another_working_directory(case: Case):
    """A run whose data path is relative opens from every working directory."""
    write(case.folder / "shop", rows())
    (case.folder / "elsewhere").mkdir()
    with inside(case.folder):
        case.works("train", "--data", "shop", "--out", "run", *tiny("lr"))
    with inside(case.folder / "elsewhere"):
        case.works("evaluate", case.folder / "run")
        case.works("train", "--data", case.folder / "shop", "--out", case.folder / "run", *tiny("lr"))
    (case.folder / "shop").rename(case.folder / "moved")
    with inside(case.folder / "elsewhere"):
        case.refused("evaluate", case.folder / "run", says=("shop",))


def c14_version(case: Case):
    """`hyperctr --version` prints the version."""
    done = case.works("--version")
    case.check(hyperctr.__version__ in done.out, f"it prints {done.out!r}")


def c15_out_as_everywhere(case: Case):
    """Predict takes --out, as every other command does; --output still works."""
    shop, run = write(case.folder / "shop", rows()), case.folder / "run"
    case.works("train", "--data", shop, "--out", run, *tiny("mf"))
    table = pl.DataFrame({"user_id": [1], "item_id": [101], "timestamp": [START + 10**6]})
    table.write_csv(case.folder / "in.csv")
    for option in ("--out", "--output"):
        case.works("predict", run, "--input", case.folder / "in.csv", option, case.folder / f"scored{option}.csv")
    case.check(json.dumps(is_strict_json(call("models", "--json").out)), "models --json")
