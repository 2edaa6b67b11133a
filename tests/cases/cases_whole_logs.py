"""Part E: histories without impressions, logs without a clock, returns, empty columns, and what a report says."""

import re

import numpy as np
import polars as pl
from case_bench import START, Case, call, is_strict_json, rows, tiny, write

import hyperctr


def with_histories(seed: int = 0) -> dict:
    """Make a log whose first third is click histories alone, and whose rest is impressions with 10 % clicks."""
    rng = np.random.default_rng(seed)
    count, clicked = 900, 300
    item = rng.choice(20, size=count, p=np.arange(1, 21) / 210)
    label = np.where(np.arange(count) < clicked, 1, (np.arange(count) % 10 == 3).astype(int))
    return {
        "user_id": rng.integers(15, size=count), "item_id": 100 + item, "timestamp": START + 600 * np.arange(count),
        "click": label, "kind": np.where(np.arange(count) < clicked, "history", "shown"),
    }  # fmt: skip


def report_of(case: Case, name: str) -> dict:
    """Return the report of a run."""
    path = case.folder / name / "report.json"
    return (is_strict_json(path.read_text()) if path.exists() else None) or {}


def e1_rows_that_are_history_alone(case: Case):
    """Rows that are history alone are never trained on or scored, and enter histories; else rates are warned about."""
    log = with_histories()
    end = START + 600 * 300
    plain = write(case.folder / "plain", log)
    done = case.works("train", "--data", plain, "--out", case.folder / "plain-run", *tiny("popularity"))
    case.check(
        "click rate" in done.text.lower() and "history" in done.text.lower(),
        "click rates far apart are not warned about",
    )
    flag = (np.arange(900) >= 300).astype(int)
    shops = {
        "column": write(case.folder / "column", log | {"flag": flag}, {"use": '"flag"'}),
    }
    for key in ("{ from = %d }", '{ from = "%s" }'):
        span = key % (end if "%d" in key else np.datetime64(end, "s"))
        shops[span] = write(case.folder / f"span-{len(shops)}", log, {"use": span})
    totals = {}
    for name, shop in shops.items():
        run = f"run-{name[:6].strip('{ ')}-{len(totals)}"
        done = case.works("train", "--data", shop, "--out", case.folder / run, *tiny("popularity"))
        if done.code:
            continue
        report = report_of(case, run)
        numbers = [int(x.replace(",", "")) for x in re.findall(r"(?:train|valid|test) ([\d,]+) \(", done.text)]
        case.equal(sum(numbers), 600, f"use = {name}: rows of the three parts {numbers}")
        case.check((report.get("test") or {}).get("logloss", 9) < 0.6, f"use = {name}: log loss {report.get('test')}")
        case.check("click rate" not in done.err.lower(), f"use = {name}: click rates are warned about")
        facts = is_strict_json(call("data", "describe", shop, "--json").out) or {}
        case.check(
            "300" in str(facts.get("notes")) + str(facts.get("history_rows")),
            f"use = {name}: describe says {facts.get('notes')}",
        )
        dataset = hyperctr.load_dataset(shop)
        scored = dataset.interactions.scored
        case.check(scored is not None and int(scored.sum()) == 600, f"use = {name}: Interactions.scored")
        totals[name] = (report.get("test") or {}).get("auc")
    case.check(len(set(totals.values())) == 1, f"the same rows by another role score otherwise: {totals}")
    for name in ("column", "plain"):  # histories have the rows: a user's clicks before the first impression are known
        opened = case.folder / f"din-{name}"
        case.works("train", "--data", case.folder / name, "--out", opened, *tiny("din"))
    words = [w for w in tiny("din") if w != "--set"]
    from hyperctr.runs.prepare import prepare

    run = hyperctr.read_run({"data": {"path": str(case.folder / "column")}, "model": {"name": "din"}}, words)
    ready = prepare(run)
    case.check(ready.split.train.min() >= 300, "a row of the history is trained on")
    batch = next(iter(ready.train_batches(0)))
    case.check(batch.histories.mask.all(), "clicks of rows that are history alone are no history of later rows")
    words = write(case.folder / "words", log, {"use": '"kind"'})
    case.refused("data", "describe", words, says=("kind", "history"))
    wrong = write(case.folder / "wrong", log | {"flag": flag + 5}, {"use": '"flag"'})
    case.refused("data", "describe", wrong, says=("flag",))
    none = write(case.folder / "none", log | {"flag": flag * 0}, {"use": '"flag"'})
    case.refused(
        "train", "--data", none, "--out", case.folder / "none-run", *tiny("lr"), absent=case.folder / "none-run"
    )


def e2_a_part_with_one_label(case: Case):
    """Where a part holds clicks alone because history rows fell into it, the message names that cause."""
    log = with_histories()
    shop, out = write(case.folder / "shop", log), case.folder / "run"
    for sets in (("split.train=0.1", "split.valid=0.1"), ("split.train=0.2", "split.valid=0.1")):
        done = case.refused("train", "--data", shop, "--out", out, *tiny("popularity", *sets), absent=out)
        case.check("histor" in done.err and "use" in done.err, f"the cause is not named: {done.last}")


def e3_an_order_in_place_of_times(case: Case):
    """Models that read no slices train on a log with an order alone; one that does asks for slices.count."""
    log = rows()
    log["position"] = np.arange(240)
    del log["timestamp"]
    shop = write(case.folder / "shop", log, {"time": None, "order": '"position"'})
    for model in ("popularity", "mf", "lr", "deepfm", "din", "gru4rec"):
        done = case.works("train", "--data", shop, "--out", case.folder / model, *tiny(model))
        case.check("slices" not in done.text, f"{model}: {done.text[-200:]}")
    out = case.folder / "hyper"
    case.refused("train", "--data", shop, "--out", out, *tiny("hyperctr"), says=("slices.count",), absent=out)
    case.works("train", "--data", shop, "--out", out, *tiny("hyperctr", "slices.count=4"))
    table = pl.DataFrame({"user_id": [1, 2], "item_id": [101, 102], "position": [500, 500]})
    table.write_csv(case.folder / "in.csv")
    case.works("predict", case.folder / "din", "--input", case.folder / "in.csv", "--output", case.folder / "o.csv")


def e4_slices_of_equal_counts(case: Case):
    """Where most slices of equal counts lie in the history, describe and the run say so."""
    log = with_histories()
    more = '[modalities]\nlook = { columns = ["group"], dim = 4 }'
    items = {"item_id": 100 + np.arange(20), "group": list("aabbccddee" * 2)}
    flag = (np.arange(900) >= 300).astype(int)
    shop = write(case.folder / "shop", log | {"flag": flag}, {"use": '"flag"'}, more, items=items)
    done = case.works("train", "--data", shop, "--out", case.folder / "run", *tiny("hyperctr", "slices.count=8"))
    said = [line for line in done.text.splitlines() if "slices" in line and ("before" in line or "history" in line)]
    case.check(said, f"the run does not say that most slices lie in the history: {done.err[-300:]}")
    facts = call("data", "describe", shop).text
    case.check(re.search(r"slices|300[^\n]*click|click[^\n]*300", facts), "describe does not say where most clicks are")
    even = write(
        case.folder / "even", rows(), None, more, items={"item_id": 100 + np.arange(10), "group": list("aabbccddee")}
    )
    done = case.works("train", "--data", even, "--out", case.folder / "even-run", *tiny("hyperctr", "slices.count=8"))
    case.check("slices lie" not in done.text, f"an even log is warned about: {done.text[-200:]}")


def e5_people_return(case: Case):
    """Where pairs repeat it is said, met items are candidates, and returns and new pairs have a line each."""
    rng = np.random.default_rng(0)
    item = np.r_[np.arange(20), rng.integers(20, size=580)]
    log = {"user_id": rng.integers(8, size=600), "item_id": 100 + item, "timestamp": START + 600 * np.arange(600)}
    log["click"] = np.ones(600, np.int64)
    shop, run = write(case.folder / "shop", log, {"non_clicks": '"unobserved"'}), case.folder / "run"
    pairs = list(zip(log["user_id"].tolist(), item.tolist(), strict=True))
    again = sum(pair in pairs[:k] for k, pair in enumerate(pairs)) / 600
    facts = is_strict_json(call("data", "describe", shop, "--json").out) or {}
    case.equal(facts.get("repeats"), round(again, 4), "describe: share of clicks that repeat a pair")
    done = case.works("train", "--data", shop, "--out", run, *tiny("popularity", "evaluate.negatives=20"))
    case.check("also items that the user has met" in done.err, f"not said which items are candidates: {done.err}")
    for words in ("returns", "new pairs"):
        case.check(words in done.out, f"no line for {words}")
    report = report_of(case, "run")
    case.equal(report.get("met"), "yes", "met of report.json")
    early = pairs[:420]
    share = sum(pair in early[:k] for k, pair in enumerate(early)) / 420
    case.check(abs((report.get("repeats") or 0) - share) < 1e-9, f"repeats {report.get('repeats')}, by hand {share}")
    test = report.get("test") or {}
    returns = sum(pairs[k] in pairs[:k] for k in range(540, 600))
    case.equal([test.get("return_positives"), test.get("new_positives")], [returns, 60 - returns], "returns, new pairs")
    met = np.array([pair in pairs[:540] for pair in pairs[540:]])
    opened = hyperctr.open_run(run)
    from hyperctr.evaluation.evaluate import score

    scored = score(opened.model, opened.prepared.evaluation_batches("test"))
    before = opened.prepared.loader.has_met(scored["user"], scored["item"], scored["time"])
    clicked = scored["label"] == 1
    case.check(before[~clicked].mean() > met.mean() - 0.1, "candidates leave out what the user has met")
    none = case.works("train", "--data", shop, "--out", case.folder / "no", *tiny("popularity", "evaluate.met=no"))
    case.check("has not met" in none.err and report_of(case, "no").get("met") == "no", f"evaluate.met=no: {none.err}")
    wrong = ("--set", "evaluate.met=maybe")
    case.refused("train", "--data", shop, "--out", case.folder / "bad", *wrong, says=("evaluate.met", "auto"))


def e6_two_kinds_of_new_items(case: Case):
    """The report tells items without a training row from items never clicked before the moment of the row."""
    log = rows(400, items=30)
    log["item_id"] = np.where(np.arange(400) >= 300, log["item_id"] + 20, log["item_id"])  # some are new
    shop, run = write(case.folder / "shop", log), case.folder / "run"
    done = case.works("train", "--data", shop, "--out", run, *tiny("popularity"))
    text = done.out.lower()
    case.check(
        "without a training row" in text or "without training row" in text, "no line for items without a training row"
    )
    case.check("never clicked" in text or "not clicked before" in text, "no line for items never clicked before")
    test = report_of(case, "run").get("test") or {}
    shares = {name: value for name, value in test.items() if "item" in name and name.endswith("_rows")}
    case.check(len(shares) >= 2, f"the report counts {shares}")
    dataset, clicked, trained = hyperctr.load_dataset(shop).interactions, set(), None
    from hyperctr.data.split import split

    parts = split(dataset)
    trained = set(dataset.item[parts.train].tolist())
    cold = int(sum(x not in trained for x in dataset.item[parts.test].tolist()))
    unclicked = 0
    for row in range(len(dataset)):
        if row in set(parts.test.tolist()):
            unclicked += int(dataset.item[row] not in clicked)
        if dataset.label[row] == 1:
            clicked.add(int(dataset.item[row]))
    case.check({cold, unclicked} <= set(shares.values()), f"rows {shares}; by hand {cold} and {unclicked}")


def e7_columns_that_are_mostly_empty(case: Case):
    """Describe says which share of a column is missing, of the items and of the shown rows."""
    log = rows(users=12, items=50, tab=lambda rng, n: [None if k % 4 else "home" for k in range(n)])
    items = {"item_id": 100 + np.arange(50), "brand": ["x", "y", *[None] * 48], "kind": list("ab" * 25)}
    shop = write(
        case.folder / "shop", log, {"context": '["tab"]'}, '[items]\nfields = ["brand", "kind"]', "parquet", items=items
    )
    done = case.works("data", "describe", shop)
    lines = [line for line in done.text.splitlines() if "brand" in line]
    case.check(any("96" in line for line in lines), f"that 96 % of the items lack a brand is not said: {lines}")
    text = call("data", "describe", shop, "--json").out
    case.check("0.96" in text or "96" in text, "describe --json has no share of missing values")
    shown = 1 - float(np.isin(np.array(log["item_id"]), [100, 101]).mean())
    numbers = {round(float(x), 2) for x in re.findall(r"\d\.\d+", text)}
    case.check(round(shown, 2) in numbers, f"the share of shown rows without a brand, {shown:.4f}, is not there")
    tabs = [line for line in done.text.splitlines() if "tab" in line]
    case.check(any("75" in line for line in tabs), f"that 75 % of the rows lack a tab is not said: {tabs}")


def e8_the_best_epoch_is_the_last(case: Case):
    """Where the score still rises at the last epoch, the run says so and which key gives more."""
    log = rows(600, users=30, items=20)
    log["click"] = ((log["user_id"] + log["item_id"]) % 2 == 0).astype(int)
    shop = write(case.folder / "shop", log)
    done = case.works(
        "train", "--data", shop, "--out", case.folder / "run", *tiny("mf", "train.epochs=3", "train.lr=0.02")
    )
    report = report_of(case, "run")
    if case.check(
        report.get("best_epoch") == 3, f"the case needs a run whose last epoch is best: {report.get('best_epoch')}"
    ):
        case.check("rising" in done.text and "train.epochs" in done.text, f"nothing says so: {done.text[-300:]}")
    done = case.works(
        "train", "--data", shop, "--out", case.folder / "long", *tiny("mf", "train.epochs=60", "train.lr=0.3")
    )
    if (report_of(case, "long").get("best_epoch") or 60) < 50:
        case.check("rising" not in done.text, "a run that stopped early is called rising")


def e9_the_log_loss_of_a_constant(case: Case):
    """The log loss of the best constant is printed and reported beside the log loss."""
    shop = write(case.folder / "shop", rows())
    done = case.works("train", "--data", shop, "--out", case.folder / "run", *tiny("popularity"))
    case.check("constant" in done.out, "the constant's log loss is not printed")
    test = report_of(case, "run").get("test") or {}
    names = [name for name in test if "constant" in name]
    case.check(names, f"the report has no log loss of a constant: {sorted(test)}")
    dataset = hyperctr.load_dataset(shop).interactions
    rates = [dataset.label[216:].mean(), dataset.label[:168].mean()]
    label = dataset.label[216:]
    right = [float(-(label * np.log(rate) + (1 - label) * np.log(1 - rate)).mean()) for rate in rates]
    for name in names:
        case.check(any(abs(test[name] - x) < 1e-4 for x in right), f"{name} = {test[name]}, by hand {right}")
