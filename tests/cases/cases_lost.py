"""Part A, first half: ids, times, labels and context of a log, and what is scored later."""

import json

import numpy as np
import polars as pl
from case_bench import START, Case, Done, call, has, is_strict_json, rows, tiny, write

import hyperctr

SECOND = 1_000_000


def in_tab(folder, non_clicks="logged", tab='["tab"]', **more):
    """Write a log whose clicks depend on the tab alone."""
    log = rows(400, tab=lambda rng, n: rng.choice(["home", "search", "mail"], n), **more)
    log["click"] = ((log["tab"] == "search") ^ (np.random.default_rng(1).random(400) < 0.1)).astype(int)
    return write(folder, log, {"context": tab, "non_clicks": f'"{non_clicks}"'})


def scored(case: Case, run, table: pl.DataFrame, *more: str, ending: str = "parquet") -> tuple[np.ndarray, Done]:
    """Score rows with `predict`; return the probabilities and what the command said."""
    source, output = case.folder / f"rows.{ending}", case.folder / f"scored.{ending}"
    output.unlink(missing_ok=True)
    table.write_csv(source) if ending == "csv" else table.write_parquet(source)
    done = case.works("predict", run, "--input", source, "--output", output, *more)
    if done.code != 0 or not output.exists():
        return np.full(len(table), np.nan), done
    read = pl.read_csv(output) if ending == "csv" else pl.read_parquet(output)
    new = [name for name in read.columns if name not in table.columns]
    if not case.check(len(new) == 1, f"predict adds the columns {new}"):
        return np.full(len(table), np.nan), done
    return read[new[0]].to_numpy(), done


def a1_context_is_read_at_predict(case: Case):
    """Context that training read is read at predict too, its absence is said, and predict gives evaluate's bits."""
    shop = in_tab(case.folder / "shop")
    for model in ("lr", "fm", "deepfm", "din", "mian", "hyperctr"):
        run = case.folder / model
        if case.works("train", "--data", shop, "--out", run, *tiny(model, "train.lr=0.03")).code != 0:
            continue
        out = case.folder / f"{model}.parquet"
        case.works("evaluate", run, "--out", out)
        if not case.check(out.exists(), f"{model}: evaluate --out wrote nothing"):
            continue
        test = pl.read_parquet(out)
        right, rows_in = test["probability"].to_numpy(), test.drop("probability")
        case.check("tab" in test.columns, f"{model}: evaluate --out leaves out tab: {test.columns}")
        got, _ = scored(case, run, rows_in)
        case.check(np.array_equal(got, right), f"{model}: predict differs from evaluate by {np.abs(got - right).max()}")
        if "tab" not in rows_in.columns:
            continue
        order = np.random.default_rng(0).permutation(len(test))
        moved, _ = scored(case, run, rows_in[order.tolist()], ending="csv")
        case.check(np.allclose(moved, right[order], atol=1e-6), f"{model}: another order gives other scores")
        other, _ = scored(case, run, rows_in.with_columns(tab=pl.lit("mail")))
        same = (rows_in["tab"] == "mail").to_numpy()
        case.check((other != right)[~same].mean() > 0.9, f"{model}: another tab, the same score")
        unknown, said = scored(case, run, rows_in.with_columns(tab=pl.lit("fax")))
        case.check(has(said.err, "tab", str(len(test))), f"{model}: values unknown to training are not counted")
        absent, said = scored(case, run, rows_in.drop("tab"))
        case.check(has(said.err, "tab"), f"{model}: predict without the column tab says nothing")
        case.check(np.allclose(absent, unknown, atol=1e-6), f"{model}: no tab and an unknown tab differ")
    opened = hyperctr.open_run(case.folder / "lr")
    user, item, at = ([x] * 3 for x in (0, 100, START + 10**7))
    by_tab = opened.predict(user, item, at, context={"tab": ["home", "search", "mail"]})
    case.check(len(set(by_tab.tolist())) == 3, "open_run(...).predict ignores the context")
    drawn = in_tab(case.folder / "drawn", "unobserved")
    done = case.works("train", "--data", drawn, "--out", case.folder / "drawn-run", *tiny("lr"))
    case.check(has(done.text, "tab"), "negatives are drawn, and nobody says that the context is not read")
    moment = write(
        case.folder / "moment", dict(pl.read_csv(drawn / "interactions.csv").to_dict(as_series=False)),
        {"non_clicks": '"unobserved"'}, '[interactions.context]\ntab = { kind = "category", of = "moment" }',
    )  # fmt: skip
    if case.works("train", "--data", moment, "--out", case.folder / "moment-run", *tiny("deepfm")).code == 0:
        table = pl.DataFrame({"user_id": [0] * 3, "item_id": [100] * 3, "timestamp": [START + 10**7] * 3,
                              "tab": ["home", "search", "mail"]})  # fmt: skip
        got, _ = scored(case, case.folder / "moment-run", table)
        case.check(len(set(got.tolist())) == 3, "context of the moment is not read where negatives are drawn")


def a2_floats_that_cannot_tell_values_apart(case: Case):
    """Floats too coarse for ids, times or labels are refused, or counted and said; exact ones are what they were."""
    base = rows(200, users=20, items=10)
    folder = case.folder / "shop"

    def described(log, roles=None, ending="parquet", **tables):
        for name in ("interactions.csv", "interactions.parquet"):
            (folder / name).unlink(missing_ok=True)
        write(folder, log, roles, ending=ending, **tables)
        done = call("data", "describe", folder, "--json")
        return done, is_strict_json(done.out) or {}

    for kind, bits in ((np.float32, 24), (np.float64, 53)):
        for column in ("user_id", "item_id"):
            number = base[column] - base[column].min()
            done, facts = described(base | {column: (2**bits + number).astype(kind)})
            good = done.code == 2 or any(column in x and "apart" in x for x in facts.get("notes", []))
            case.check(good, f"{column} as {kind.__name__} from 2^{bits} on: {facts.get(column[:4] + 's')}, no word")
            done, facts = described(base | {column: number.astype(kind)})
            case.equal(facts.get(column[:4] + "s"), len(set(number)), f"{column} as small {kind.__name__}")
    exact = 1.5 * np.arange(200) + START
    done, facts = described(base | {"timestamp": exact.astype(np.float32)})
    case.check(done.code == 2 or "apart" in str(facts.get("notes")), "times as Float32 move by 64 s, no word")
    done, facts = described(base | {"timestamp": exact})
    if case.equal(done.code, 0, "times as Float64"):
        time = hyperctr.load_dataset(folder).interactions.time
        case.check(np.array_equal(time, (exact * SECOND).astype(np.int64)), "times as Float64 with halves of seconds")
    rating = np.where(np.arange(200) % 40 < 29, 4.1, 4.0)
    for kind in (np.float32, np.float64):
        done, facts = described(base | {"click": rating.astype(kind)}, {"click_at_least": "4.1"})
        case.equal(facts.get("click_rate"), 0.725, f"click rate of 4.1 as {kind.__name__} at 4.1")
    big = 2**64 + base["user_id"].astype(object)
    done, facts = described(base | {"user_id": [str(x) for x in big]}, ending="csv")
    case.check(
        done.code == 2 or facts.get("users") == 20, f"whole ids beyond 64 bits in CSV: {facts.get('users')} of 20"
    )
    big = 2**63 + 1 + base["user_id"].astype(np.uint64)
    done, facts = described(base | {"user_id": big})
    case.equal(facts.get("users"), 20, "users with unsigned 64-bit ids")
    padded = [f"{x % 10:0{1 + x // 10}d}" for x in base["user_id"]]  # "7" and "07" are two users
    done, facts = described(base | {"user_id": padded}, ending="csv")
    said = any("user" in x and "zero" in x for x in facts.get("notes", []))
    case.check(
        facts.get("users") == 20 or said, f'ids "7" and "07" become one user: {facts.get("users")} of 20, no word'
    )
    listed = {"user_id": np.arange(20), "age": np.arange(20)}
    log = base | {"user_id": base["user_id"].astype(np.float64)}
    done, facts = described(log, users=listed)
    case.equal((done.code, facts.get("users")), (0, 20), "float ids in the log and whole ones in users.parquet")


def a3_fractions_of_a_second(case: Case):
    """Times are whole microseconds: events 0.1 s apart are in order, units are recognised and said, or stated."""
    count = 60
    exact = START * SECOND + 100_000 * np.arange(count)  # all clicks of one user, 0.1 s apart
    base = rows(count, users=1, click=np.ones(count, int))
    at = pl.Series(exact)
    forms = {
        "decimals": (pl.Series([f"{x // SECOND}.{x % SECOND:06d}" for x in exact]), "csv", ""),
        "iso text": (pl.Series([f"{x}Z" for x in exact.astype("datetime64[us]").astype(str)]), "csv", ""),
        "iso text of another zone": (
            pl.Series([f"{x}+02:00" for x in (exact + 7200 * SECOND).astype("datetime64[us]").astype(str)]), "csv", ""),
        "Float64": (at / 1e6, "parquet", ""),
        "Datetime(us)": (at.cast(pl.Datetime("us")), "parquet", ""),
        "Datetime(ms)": (at.cast(pl.Datetime("us")).dt.cast_time_unit("ms"), "parquet", ""),
        "Datetime(ns)": (at.cast(pl.Datetime("us")).dt.cast_time_unit("ns"), "parquet", ""),
        "Datetime of a zone": (at.cast(pl.Datetime("us", "UTC")).dt.convert_time_zone("Asia/Tokyo"), "parquet", ""),
        "ms": (at // 1_000, "csv", "milli"),
        "us": (at, "csv", "micro"),
        "ns": (at * 1_000, "csv", "nano"),
        "ns in Parquet": (at * 1_000, "parquet", "nano"),
    }  # fmt: skip
    for name, (column, ending, unit) in forms.items():
        folder = write(case.folder / name, base | {"timestamp": column}, {"non_clicks": None}, ending=ending)
        try:
            dataset = hyperctr.load_dataset(folder)
        except ValueError as error:
            case.check(False, f"{name}: {error}")
            continue
        found = dataset.interactions.time
        case.check(np.array_equal(found, exact), f"{name}: {found[:2]} in place of {exact[:2]}")
        case.check(unit in " ".join(dataset.notes).lower(), f"{name}: the unit is not said: {dataset.notes}")
        case.equal(len(dataset.interactions.upto(int(exact[5]))), 5, f"{name}: rows strictly before the sixth")
        facts = is_strict_json(call("data", "describe", folder, "--json").out) or {}
        case.check((facts.get("sample") or {}).get("earlier_clicks", 0) >= 5, f"{name}: no history within a second")
    for unit, factor in (("s", SECOND), ("ms", 1_000), ("us", 1)):
        log = case.folder / f"{unit}.csv"
        pl.DataFrame(base | {"timestamp": exact // factor}).write_csv(log)
        out = case.folder / f"stated-{unit}"
        if case.works("data", "import", log, "--out", out, "--time-unit", unit).code == 0:
            found = hyperctr.load_dataset(out).interactions.time
            case.check(np.array_equal(found, exact // factor * factor), f"--time-unit {unit} gives {found[:2]}")
    log = pl.DataFrame(base | {"timestamp": np.append(exact[:-1] // SECOND, exact[-1] // 1_000)})
    log.write_csv(case.folder / "mixed.csv")
    done = case.refused(
        "data", "import", case.folder / "mixed.csv", "--out", case.folder / "mixed", absent=case.folder / "mixed"
    )
    case.check("unit" in done.err.lower(), f"seconds and milliseconds in one column: {done.last}")
    hour = rows(count, users=6, every=240)
    shop = write(case.folder / "upto", hour | {"timestamp": START // 3600 * 3600 + 240 * np.arange(count)})
    slices = []
    for upto in (START // 3600 * 3600 + 7199.5, START // 3600 * 3600 + 7200, "2023-11-15T00:00:00.25"):
        out = case.folder / "graphs"
        if case.works("graph", "build", "--data", shop, "--every", "1h", "--out", out, "--upto", str(upto)).code == 0:
            slices.append(len((is_strict_json(call("graph", "describe", out, "--json").out) or {}).get("slices", [])))
    if len(slices) == 3:
        case.check(slices[0] == slices[1] - 2, f"--upto half a second before the end of a slice: {slices}")  # two sides


def a4_times_that_are_no_unix_seconds(case: Case):
    """Years, or minutes and days since some start, are noted with the option that reads them; it then does."""
    base = rows(240)
    columns = {
        "year": (1990 + np.sort(base["user_id"]), "1990-01-01"),
        "d": (np.arange(240), "1970-01-01"),
        "h": (np.arange(240) * 5, "1970-01-01"),
        "min": (np.arange(240) * 11, "1970-01-01"),
    }
    for unit, (column, start) in columns.items():
        log = case.folder / f"{unit}.csv"
        pl.DataFrame(base | {"timestamp": column}).write_csv(log)
        done = call("data", "import", log, "--out", case.folder / f"plain-{unit}")
        case.check(
            "time-unit" in done.text or "time_unit" in done.text, f"times in {unit} are taken as seconds, no word"
        )
        out = case.folder / f"stated-{unit}"
        if case.works("data", "import", log, "--out", out, "--time-unit", unit).code == 0:
            facts = is_strict_json(call("data", "describe", out, "--json").out) or {}
            case.check(str(facts.get("from")).startswith(start), f"--time-unit {unit} starts at {facts.get('from')}")
            length = {"year": 365.25 * 11, "d": 239, "h": 239 * 5 / 24, "min": 239 * 11 / 1440}[unit]
            span = facts.get("span_days") or 0
            case.check(abs(span - length) < 3, f"--time-unit {unit} spans {span} days in place of {length:g}")
            case.check("no log has" not in str(facts.get("notes")), f"the stated unit {unit} is doubted again")
    pl.DataFrame(base).write_csv(case.folder / "log.csv")
    case.refused(
        "data", "import", case.folder / "log.csv", "--out", case.folder / "x", "--time-unit", "weeks", says=("weeks",)
    )
    plain = call("data", "import", case.folder / "log.csv", "--out", case.folder / "good")
    case.check("no log has" not in plain.text, "a usual log is doubted")


def a6_strict_json(case: Case):
    """All JSON is strictly valid: what is not a number is null."""
    shop = write(case.folder / "shop", rows())
    run = case.folder / "run"
    commands = {
        "train": ("train", "--data", shop, "--out", run, *tiny("din")),
        "evaluate": ("evaluate", run),
        "data describe": ("data", "describe", shop),
        "plan": ("plan", "--data", shop, *tiny("din")),
        "audit": ("audit", run, "--rows", 10, "--cuts", 1),
        "models": ("models",),
    }
    nulls = 0
    for name, words in commands.items():
        done = case.works(*words, "--json")
        case.check(is_strict_json(done.out) is not None, f"{name} --json prints no strict JSON")
        nulls += done.out.count(": null")
    case.check(nulls, "no number was unknown: nothing was tried")
    for path in run.glob("*.json"):
        case.check(is_strict_json(path.read_text()) is not None, f"{path.name} is no strict JSON")


def a7_rows_that_are_scored_come_back_untouched(case: Case):
    """Predict counts unknown users and items, reads ids as training did, and adds one new column to its input."""
    shop = write(case.folder / "shop", rows())
    run = case.folder / "run"
    case.works("train", "--data", shop, "--out", run, *tiny("mf", "train.lr=0.1"))
    at = START + 10**6
    table = pl.DataFrame({"user_id": [1, 2, 99, 98], "item_id": [101, 999, 102, 103], "timestamp": [at] * 4})
    known, done = scored(case, run, table)
    case.check("2 " in done.err and "user" in done.err, f"two unknown users are not counted: {done.err!r}")
    case.check("1 " in done.err and "item" in done.err, f"one unknown item is not counted: {done.err!r}")
    calm, done = scored(case, run, table.head(1))
    case.check("unknown" not in done.err and "not know" not in done.err, f"known ids are doubted: {done.err!r}")
    for name, column in (("floats", pl.Float64), ("text", pl.String), ("Int32", pl.Int32)):
        got, done = scored(case, run, table.with_columns(user_id=pl.col("user_id").cast(column)))
        case.check(np.array_equal(got, known), f"user ids as {name} score {got} in place of {known}")
    named = rows()
    named["user_id"] = [f"{x}" if x else "ann" for x in named["user_id"]]  # text: "ann", "1", "2", ...
    case.works(
        "train",
        "--data",
        write(case.folder / "text", named),
        "--out",
        case.folder / "text-run",
        *tiny("mf", "train.lr=0.1"),
    )
    right, _ = scored(case, case.folder / "text-run", table.with_columns(user_id=pl.Series(["1", "2", "3", "4"])))
    got, done = scored(case, case.folder / "text-run", table.with_columns(user_id=pl.Series([1, 2, 3, 4])))
    case.check(np.array_equal(got, right), "ids read as text in training are other users when they come as numbers")
    case.check("user" not in done.err.replace("user_id", ""), f"known users are doubted: {done.err!r}")
    got, done = scored(case, case.folder / "text-run", table.with_columns(user_id=pl.Series([1.0, 2.0, 3.0, 4.0])))
    case.check(np.array_equal(got, right), "ids read as text in training are other users when they come as floats")
    own = table.with_columns(probability=pl.lit(7.5), note=pl.Series(["1.50", "007", "", "x,y"]))
    own = own.with_columns(
        timestamp=pl.Series(["2023-11-20T00:00:00.250Z", "2023-11-20", "2023-11-20T02:00+02:00", "2023-11-21"])
    )
    for ending in ("csv", "parquet"):
        _, done = scored(case, run, own, ending=ending)
        read = (lambda path: pl.read_csv(path, infer_schema=False)) if ending == "csv" else pl.read_parquet
        output = case.folder / f"scored.{ending}"
        if case.check(output.exists(), f"{ending}: nothing was written"):
            back, source = read(output), read(case.folder / f"rows.{ending}")
            case.equal(len(back.columns), len(own.columns) + 1, f"{ending}: number of columns")
            kept = [name for name in own.columns if name in back.columns and back[name].equals(source[name])]
            case.equal(kept, own.columns, f"{ending}: columns that came back untouched")
            if len(back.columns) > len(own.columns):
                case.check(back.columns[-1] in done.text, f"{ending}: the name of the new column is not said")


def a8_the_data_sets_own_names(case: Case):
    """Predict takes the data set's own column names, and names the one that is missing."""
    log = rows()
    own = {"visitor": log["user_id"], "sku": log["item_id"], "ts": log["timestamp"], "bought": log["click"]}
    roles = {"user": '"visitor"', "item": '"sku"', "time": '"ts"', "click": '"bought"'}
    shop, run = write(case.folder / "shop", own, roles), case.folder / "run"
    case.works("train", "--data", shop, "--out", run, *tiny("mf"))
    table = pl.DataFrame({"visitor": [1, 2], "sku": [101, 102], "ts": [START + 10**6] * 2})
    got, _ = scored(case, run, table)
    case.check(np.isfinite(got).all(), "rows with the data's own names are not scored")
    for name in table.columns:
        source, output = case.folder / "part.csv", case.folder / "part-out.csv"
        table.drop(name).write_csv(source)
        case.refused("predict", run, "--input", source, "--output", output, says=(name,), absent=output)
    case.works("evaluate", run, "--out", case.folder / "test.parquet")
    if (case.folder / "test.parquet").exists():
        names = pl.read_parquet(case.folder / "test.parquet").columns
        case.check({"visitor", "sku", "ts"} <= set(names), f"evaluate --out has other names: {names}")
    two = {"shop": log["user_id"] % 3, "member": log["user_id"] // 3} | {k: own[k] for k in ("sku", "ts", "bought")}
    joint = write(case.folder / "two", two, roles | {"user": '["shop", "member"]'})
    case.works("train", "--data", joint, "--out", case.folder / "two-run", *tiny("mf"))
    table = pl.DataFrame({"shop": [1, 2], "member": [0, 1], "sku": [101, 102], "ts": [START + 10**6] * 2})
    got, done = scored(case, case.folder / "two-run", table)
    case.check(np.isfinite(got).all() and "user" not in done.err, f"a user named by two columns: {done.err!r}")


def a9_settings_of_a_sweep(case: Case):
    """A sweep refuses --set of what it varies, and says which rows do not take another --set."""
    shop, out = write(case.folder / "shop", rows(120)), case.folder / "sweep"
    base = ("sweep", "--data", shop, "--depth", "0", "--jobs", 1, "--no-referees", "--out", out)
    for key in ("slices.every=2d", "slices.count=4", "model.depth=1"):
        case.refused(*base, "--every", "1d", "--set", key, says=(key.partition("=")[0],), absent=out)
    done = case.works(*base, "--every", "1d", *tiny(""), "--json")
    lines = [line for line in done.err.splitlines() if "train.epochs" in line]
    case.check(lines and "popularity" in lines[0] and "mf" in lines[0], "rows that keep their own epochs are not named")
    rows_out = json.loads(done.out) if done.code == 0 else []
    case.check(len(rows_out) == 3 and all(row["status"] == "ok" for row in rows_out), f"rows: {rows_out}")
    case.refused(*base, "--every", "1d", *tiny("", "train.lr=0.5"), says=("train.lr",))
    folders = [path.name for path in out.rglob("*") if path.is_dir()]
    case.check(not [name for name in folders if " " in name or "=" in name], f"folders are called {folders}")
