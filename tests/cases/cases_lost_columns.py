"""Part A, second half: ties, unused columns, kinds of columns, labels that cannot be learned, threads and order."""

import json
import shutil

import numpy as np
import polars as pl
from case_bench import START, Case, call, has, is_strict_json, rows, tiny, write
from safetensors.numpy import load_file

GENRES = ["Animation", "Comedy", "Drama", "Crime", "War", "Western"]


def facts_of(case: Case, folder) -> dict:
    """Describe a data set."""
    done = case.works("data", "describe", folder, "--json")
    return is_strict_json(done.out) or {}


def a10_ties_in_sorted_order(case: Case):
    """With ties = "order" on a file sorted by user, day and item, the share of ties in sorted order is warned about."""
    rng = np.random.default_rng(0)
    log = pl.DataFrame({"user_id": np.sort(rng.integers(12, size=400)), "item_id": rng.integers(100, 112, size=400),
                        "timestamp": START // 86400 * 86400 + 86400 * rng.integers(12, size=400),
                        "click": rng.integers(2, size=400)})  # fmt: skip
    sorted_log = write(case.folder / "sorted", log.sort("user_id", "timestamp", "item_id").to_dict())
    for model in ("popularity", "din"):
        done = case.works("train", "--data", sorted_log, "--out", case.folder / model, *tiny(model, "data.ties=order"))
        case.check(
            has(done.text, "sorted", "ties?", r"\d+(\.\d+)?\s?%"), f"{model}: ties in sorted order are not warned about"
        )
    mixed = write(case.folder / "mixed", log.sample(fraction=1, shuffle=True, seed=1).to_dict())
    done = case.works("train", "--data", mixed, "--out", case.folder / "mixed-run", *tiny("din", "data.ties=order"))
    case.check("sorted" not in done.text.lower(), "ties in random order are warned about")
    done = case.works("data", "check", sorted_log)
    case.check(has(done.text, "ties?|same time"), "data check does not find ties")


def a11_columns_without_a_role(case: Case):
    """Columns without a role are named, with what would read them; import has an option for each role."""
    log = rows(price=lambda rng, n: rng.random(n) * 100, device=lambda rng, n: rng.choice(["tv", "pc"], n),
               purchased=lambda rng, n: rng.integers(2, size=n))  # fmt: skip
    pl.DataFrame(log).write_csv(case.folder / "log.csv")
    done = case.works("data", "import", case.folder / "log.csv", "--out", case.folder / "plain")
    for name in ("price", "device", "purchased"):
        lines = [line for line in done.text.splitlines() if name in line and "unused" in line.lower()]
        case.check(lines, f"the unused column {name} is not named")
    case.check("context" in done.text, "it is not said how an unused column is used")
    items = pl.DataFrame({"item_id": 100 + np.arange(10), "genre": ["a|b", "c"] * 5, "cost": np.arange(10) * 1.5})
    users = pl.DataFrame({"user_id": np.arange(12), "age": 20 + np.arange(12), "town": ["x", "y", "z"] * 4})
    items.write_csv(case.folder / "items.csv")
    users.write_parquet(case.folder / "users.parquet")
    np.save(case.folder / "photo.npy", np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32))
    shop = case.folder / "shop"
    done = case.works(
        "data", "import", case.folder / "log.csv", "--out", shop, "--context", "device,price",
        "--numeric", "price,cost,age", "--conversion", "purchased", "--items", case.folder / "items.csv", "--users",
        case.folder / "users.parquet", "--fields", "genre,cost,age,town",
        "--modality", f"photo={case.folder}/photo.npy",
    )  # fmt: skip
    if done.code == 0:
        facts, text = facts_of(case, shop), json.dumps(facts_of(case, shop))
        for name in ("device", "price", "genre", "cost", "age", "town", "photo", "conversion_rate"):
            case.check(has(text, name), f"after import with options, describe does not know {name}")
        case.check("unused" not in text.lower(), f"columns are still unused: {facts.get('notes')}")
        kinds = {name: x.get("kind") for name, x in columns_of(facts).items()}
        for name in ("price", "cost", "age"):
            case.equal(kinds.get(name), "number", f"kind of {name} after --numeric")
        case.works("train", "--data", shop, "--out", case.folder / "run", *tiny("deepfm"))
    case.refused("data", "import", case.folder / "log.csv", "--out", case.folder / "x", "--context", "devise",
                 says=("devise", "device"), absent=case.folder / "x")  # fmt: skip
    folder = write(case.folder / "folder", log, users=users.to_dict(), items=items.to_dict())
    text = " ".join(facts_of(case, folder).get("notes", []))
    for name in ("device", "genre", "town"):
        case.check(name in text, f"a folder with an unused column {name}: describe does not say so")


def columns_of(facts: dict) -> dict:
    """Return what describe says of each column, by name, wherever it is."""
    found = {}

    def visit(part):
        if isinstance(part, dict):
            for name, value in part.items():
                if isinstance(value, dict) and "kind" in value:
                    found[name] = value
                visit(value)
        elif isinstance(part, list):
            for value in part:
                if isinstance(value, dict) and "kind" in value and ("column" in value or "name" in value):
                    found[value.get("column") or value["name"]] = value
                visit(value)

    visit(facts)
    return found


def a12_a_kind_for_each_column(case: Case):
    """Floats, ages, tags and lists are what the data set says they are, describe shows it, and guesses are said."""
    rng = np.random.default_rng(0)
    genres = ["|".join(rng.choice(GENRES, rng.integers(1, 4), replace=False)) for _ in range(60)]
    items = {"item_id": np.arange(60), "genres": genres, "price": rng.lognormal(3, 1, 60).round(2),
             "words": [[str(x) for x in rng.integers(9, size=3)] for _ in range(60)]}  # fmt: skip
    users = {"user_id": np.arange(40), "age": rng.integers(15, 70, 40), "town": rng.choice(["x", "y"], 40)}
    log = rows(400, users=40, items=60)
    log["item_id"] -= 100
    kinds = """
[items.fields]
genres = "tags"
words = "tags"
price = { kind = "number", log = true }
[users.fields]
age = { kind = "bucket", boundaries = [18, 30, 50] }
town = "category"
"""
    shop = write(case.folder / "shop", log, None, kinds, "parquet", items=items, users=users)
    found = columns_of(facts_of(case, shop))
    right = {"genres": "tags", "words": "tags", "price": "number", "age": "bucket", "town": "category"}
    said = {name: str(found.get(name, {}).get("kind")).partition(",")[0] for name in right}
    case.equal(said, right, "kinds in describe")
    case.equal(_number_of_values(found.get("genres", {})), 6, "values of genres as tags")
    case.equal(_number_of_values(found.get("words", {})), 9, "values of a list column")
    for model in ("lr", "fm", "deepfm", "din", "hyperctr"):
        case.works("train", "--data", shop, "--out", case.folder / model, *tiny(model))
    guessed = '[items]\nfields = ["genres", "price"]\n[users]\nfields = ["age", "town"]\n'
    plain = write(case.folder / "plain", log, None, guessed, "parquet", items=items, users=users)
    facts = facts_of(case, plain)
    found, notes = columns_of(facts), " ".join(facts.get("notes", []))
    for name, better in (("genres", "tags"), ("price", "number")):
        good = found.get(name, {}).get("kind") == better or (name in notes and better in notes)
        case.check(good, f"{name} is read as {found.get(name)}, and nobody says that {better} may be better")
    case.check({"genres", "price", "age", "town"} <= found.keys(), f"describe shows the kinds of {sorted(found)} alone")
    wrong = write(case.folder / "wrong", log, None, '[items.fields]\nprice = "numbr"\n', "parquet", items=items)
    case.refused("data", "describe", wrong, says=("price", "number"))
    text = write(case.folder / "text", log, None, '[items.fields]\ngenres = "number"\n', "parquet", items=items)
    case.refused("data", "describe", text, says=("genres",))


def _number_of_values(column: dict):
    counts = [x for key, x in column.items() if key in ("values", "size", "tags", "categories") and isinstance(x, int)]
    return counts[0] if counts else None


def a13_labels_that_cannot_be_learned(case: Case):
    """A threshold that is no number, one label alone, or nothing to draw is found before anything is written."""
    base, out = rows(), case.folder / "run"

    def train(log, roles=None, *more):
        shop = write(case.folder / "shop", log, roles)
        shutil.rmtree(out, ignore_errors=True)
        return ("train", "--data", shop, "--out", out, *tiny("popularity", *more))

    for value in ("nan", "inf", "-inf"):
        case.refused(*train(base, {"click_at_least": value}), says=("click_at_least",), absent=out)
    pl.DataFrame(base).write_csv(case.folder / "log.csv")
    case.refused("data", "import", case.folder / "log.csv", "--out", case.folder / "x", "--click", "click",
                 "--click-at-least", "nan", says=("click",), absent=case.folder / "x")  # fmt: skip
    zeros, ones = base | {"click": np.zeros(240, int)}, base | {"click": np.ones(240, int)}
    for name, log, word in (("zeros", zeros, "click"), ("ones", ones, "non_clicks")):
        done = case.refused(*train(log), says=(word,), absent=out)
        case.check("random" not in done.err, f"{name} only: advice that cannot help: {done.last}")
    done = case.refused(*train(zeros, {"non_clicks": '"unobserved"'}), says=("click",), absent=out)
    case.check("other train and valid shares" not in done.err, f"no clicks at all: {done.last}")
    every = rows(48, every=60, click=np.ones(48, int))
    every |= {"user_id": np.repeat(np.arange(6), 8), "item_id": np.tile(np.arange(8), 6)}
    done = case.refused(*train(every, {"non_clicks": '"unobserved"'}), says=("negative",), absent=out)
    case.check("item" in done.err, f"every user clicked every item: {done.last}")
    late = base | {"click": np.where(np.arange(240) >= 200, 0, base["click"])}
    done = case.refused(*train(late), says=("test",), absent=out)
    case.check("non_clicks" not in done.err, f"a test part without clicks is no matter of non_clicks: {done.last}")
    middle = base | {"click": np.where((np.arange(240) >= 160) & (np.arange(240) < 220), 0, base["click"])}
    case.refused(*train(middle), says=("valid",), absent=out)
    missing = base | {"click": [None] * 240}
    case.refused(*train(missing), says=("label",), absent=out)


def a14_a_column_that_is_the_label(case: Case):
    """A column that by itself predicts the label is flagged; an honest one is not."""
    log = rows(tab=lambda rng, n: rng.integers(3, size=n))
    log["dwell"] = log["click"] * 2 + 1
    log["seconds"] = log["click"] * 40.0 + np.random.default_rng(0).random(240)
    shop = write(case.folder / "shop", log, {"context": '["dwell", "tab", "seconds"]'})
    done = call("data", "check", shop)
    case.check(done.code in (0, 1), f"data check ended with {done.code}: {done.last}")
    flagged = [line for line in done.text.splitlines() if "predict" in line.lower() or "label" in line.lower()]
    for name in ("dwell", "seconds"):
        case.check(any(name in line for line in flagged), f"data check does not flag {name}, which is the label")
    case.check(not any("tab" in line.split() for line in flagged), "data check flags an honest column")
    done = case.works("train", "--data", shop, "--out", case.folder / "run", *tiny("lr"))
    case.check(has(done.text, "dwell", "predicts"), f"train does not flag the column: {done.text}")
    fine = write(
        case.folder / "fine", {k: v for k, v in log.items() if k not in ("dwell", "seconds")}, {"context": '["tab"]'}
    )
    done = call("data", "check", fine)
    case.check(done.code == 0, f"data check ends with {done.code} on a good log: {done.text[-200:]}")


def a17_items_that_appear_first_as_a_test_click(case: Case):
    """A first appearance is counted and scored on a line of its own, against items that are as new."""
    rng = np.random.default_rng(0)
    item = np.array([k // 5 if k % 5 == 0 else rng.integers((max(k, 1) - 1) // 5 + 1) for k in range(1000)])
    log = {"user_id": rng.integers(30, size=1000), "item_id": 100 + item, "timestamp": START + 600 * np.arange(1000)}
    log["click"] = np.ones(1000, np.int64)
    shop, run = write(case.folder / "shop", log, {"non_clicks": '"unobserved"'}), case.folder / "run"
    done = case.works("train", "--data", shop, "--out", run, *tiny("popularity", "evaluate.negatives=10"))
    case.check("first appearances" in done.out, "no line for first appearances")
    case.check("scored apart" in done.err, f"not said that they are scored apart: {done.err}")
    from hyperctr import open_run
    from hyperctr.evaluation.evaluate import score
    from hyperctr.evaluation.metrics import auc
    from hyperctr.runs.candidates import compared

    opened = open_run(run)
    report, ready = opened.report["test"], opened.prepared
    case.equal([report["first_positives"], report["positives"]], [20, 80], "first appearances, other clicks")
    case.check(report["first_share"] == 0.2 and report["first_auc"] == 0.5, f"{report['first_auc']} of popularity")
    scored = compared(ready, score(opened.model, ready.evaluation_batches("test")))
    first = ready.loader.is_first(scored["item"], scored["time"])
    case.equal(auc(scored["label"], first), 0.5, "AUC of 'never seen' alone")
    case.equal(auc(scored["label"], scored["logit"]), report["auc"], "AUC over items that exist")


def a18_threads_order_and_places(case: Case):
    """What does not change a run gives equal weights; where bits may differ, it is said."""
    log = pl.DataFrame(rows())
    shop = write(case.folder / "shop", log.to_dict())
    shuffled = write(case.folder / "shuffled", log.sample(fraction=1, shuffle=True, seed=3).to_dict())
    tied = log.with_columns(timestamp=pl.col("timestamp") // 86400 * 86400)
    tied_shop = write(case.folder / "tied", tied.to_dict())
    tied_shuffled = write(case.folder / "tied-shuffled", tied.sample(fraction=1, shuffle=True, seed=3).to_dict())

    def weights(folder, name, *more):
        done = case.works("train", "--data", folder, "--out", case.folder / name, *tiny("din", *more))
        path = case.folder / name / "weights.safetensors"
        return (load_file(path) if path.exists() else {}), done

    def same(a, b):
        return bool(a) and all(np.array_equal(x, b[name]) for name, x in a.items())

    first, _ = weights(shop, "first")
    case.check(same(first, weights(shop, "again")[0]), "the same run twice gives other weights")
    case.check(same(first, weights(shuffled, "other")[0]), "a shuffled file without ties gives other weights")
    one, said = weights(tied_shop, "tied-run")
    other, said_too = weights(tied_shuffled, "tied-other")
    notes = said.text + said_too.text + call("data", "describe", tied_shop).text
    good = same(one, other) or has(notes, "ties?|same time|order of the file")
    case.check(good, "a shuffled file with tied times gives other weights, and no word")
    two, _ = weights(shop, "two", "train.threads=2")
    help_text = call("config", "din").out
    about = help_text[help_text.find("threads") - 400 : help_text.find("threads") + 100]
    case.check(
        same(first, two) or "bit" in about, "another number of threads gives other weights; `hyperctr config` is silent"
    )
    case.check("bit" in about, "the key train.threads does not say whether bits depend on it")
