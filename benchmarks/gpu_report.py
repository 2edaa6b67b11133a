"""Compare what `gpu.py` measured with what was expected, and write it as Markdown."""

import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import kernels

PYG, AUTOGRAD, STORED, STORED_HALF = "PyG", "cuSPARSE, autograd", "cuSPARSE, stored transpose", "cuSPARSE, bfloat16"
OURS, HALF = "ours, float32", "ours, bfloat16"
LEAST = {  # (contender, other): times faster that is expected, and on which hypergraphs; "" is all of them
    (OURS, STORED): (1.3, ""), (HALF, STORED): (2.0, ""), (OURS, PYG): (7.0, "M"), (HALF, PYG): (13.0, "M"),
    (OURS, AUTOGRAD): (0.0, ""), (HALF, STORED_HALF): (0.0, ""),
}  # fmt: skip
COPY_SHARE = 0.6  # of the copy bandwidth, on L
NAMES = (PYG, AUTOGRAD, STORED, STORED_HALF, OURS, HALF)


def rows_of(report: dict, section: str, key: str = "") -> list[dict]:
    """Return the rows of a section, those that have a key."""
    return [row for row in report["sections"].get(section, {}).get("rows", []) if not key or key in row]


def verdicts(report: dict) -> list[dict]:
    """Compare what was measured with what was expected; `reached` is None where nothing was measured."""
    found, sections = [], report["sections"]

    def say(what: str, expected: str, number: str, reached: bool | None) -> None:
        found.append({"what": what, "expected": expected, "found": number, "reached": reached})

    if "tests" in sections:
        rows = rows_of(report, "tests")
        text = f"{rows[0]['passed']} passed, {rows[0]['failed']} failed" if rows else ""
        say("gpu tests", "all pass", text, rows[0]["passed"] > 0 and not rows[0]["failed"] if rows else None)
    if "kernels" not in sections:
        return found
    graphs = {row["graph"]: row for row in rows_of(report, "kernels", "graph")}
    for name in report["graphs"]:
        row = graphs.get(name)
        for (mine, other), (least, where) in LEAST.items():
            if least and name.startswith(where):
                times = speedup(row, mine, other)
                say(f"{name}: {mine} than {other}", f"{least:g} times", "" if times is None else f"{times:.2f} times",
                    None if times is None else times >= least)  # fmt: skip
        if name.startswith("L"):
            share = copy_share(report, row, "moved")
            say(f"{name}: bytes moved", f"{COPY_SHARE:.0%} of a copy", "" if share is None else f"{share:.0%}",
                None if share is None else share >= COPY_SHARE)  # fmt: skip
        bits = [row["same_bits"][x] for x in (OURS, HALF) if x in row["same_bits"]] if row else []
        same = all(bits) if bits else None
        say(f"{name}: bits of two runs", "equal", {None: "", True: "equal", False: "different"}[same], same)
    return found


def speedup(row: dict | None, name: str, other: str) -> float | None:
    """Return how many times faster one contender is than another there and back, where both were measured."""
    if row is None or not row["both"].get(name) or not row["both"].get(other):
        return None
    return kernels.ratios(row["both"], name, other)


def copy_share(report: dict, row: dict | None, kind: str) -> float | None:
    """Return bytes per second of our float32 kernels, there and back, as a share of those of a copy."""
    copied = rows_of(report, "kernels", "copy")
    if row is None or not copied or not row["both"].get(OURS):
        return None
    return row["bytes"][kind] / statistics.median(row["both"][OURS]) / copied[0]["copy"]


def grid(head: list[str], lines: Iterable[list[str]]) -> str:
    """Write a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def table(report: dict) -> str:
    """Write the report as Markdown."""
    machine = report["machine"]
    names = ("gpu", "driver", "cuda", "torch", "triton", "python", "cpus", "threads", "commit")
    about = ", ".join(f"{name} {machine[name]}" for name in names if machine.get(name) is not None)
    parts = ["# What a GPU gives", f"{about}. {report['date']}, {report['seconds']:.0f} s."]
    words = {True: "reached", False: "NOT REACHED", None: "not measured"}
    lines = [[v["what"], v["expected"], v["found"], words[v["reached"]]] for v in report["verdicts"]]
    parts += ["## Expected", grid(["", "expected", "found", ""], lines)] if lines else []
    for name, write in TABLES.items():
        if rows_of(report, name):
            parts += [f"## {name.capitalize()}", *write(report)]
    missing = [[n, m["what"], m["why"].replace("|", "/")] for n, s in report["sections"].items() for m in s["missing"]]
    parts += ["## Not measured", grid(["section", "what", "why"], missing) if missing else "Nothing is missing."]
    return "\n\n".join(parts) + "\n"


def table_of_tests(report: dict) -> list[str]:
    """Say how the tests ended."""
    row = rows_of(report, "tests")[0]
    failed = f" Failed: {', '.join(row['failures'])}." if row["failures"] else ""
    return [f"{row['passed']} passed, {row['failed']} failed, {row['skipped']} skipped.{failed}"]


def table_of_kernels(report: dict) -> list[str]:
    """Write times, ratios and bandwidths."""
    rows, copied = rows_of(report, "kernels", "graph"), rows_of(report, "kernels", "copy")
    names = [name for name in NAMES if any(row["both"].get(name) for row in rows)]

    def ms(row: dict, name: str) -> str:
        if not row["both"].get(name):
            return "not measured"
        return " / ".join(f"{1e3 * statistics.median(row[part][name]):.3f}" for part in ("forward", "both"))

    def times(row: dict, pair: tuple[str, str]) -> str:
        found = speedup(row, *pair)
        return "not measured" if found is None else f"{found:.2f}"

    heads = [row["graph"] for row in rows]
    parts = [
        grid(["ms: forward / forward and backward", *heads], [[n, *(ms(r, n) for r in rows)] for n in names]),
        grid(["times faster, there and back", *heads],
             [[f"{a} than {b}", *(times(r, (a, b)) for r in rows)] for a, b in LEAST]),
    ]  # fmt: skip
    if copied:
        kinds = {"moved": "bytes moved", "needed": "bytes if everything counts once"}
        shares = [
            [words, *("not measured" if (s := copy_share(report, r, kind)) is None else f"{s:.0%}" for r in rows)]
            for kind, words in kinds.items()
        ]
        parts.append(grid([f"share of a copy, {copied[0]['copy'] / 1e9:,.0f} GB/s", *heads], shares))
    return parts


def table_of_training(report: dict) -> list[str]:
    """Write rows per second, one line per model and batch size."""
    found = {(row["model"], row["batch"], row["device"] == "cpu"): row for row in rows_of(report, "training")}
    models, lines = list(dict.fromkeys(name for name, *_ in found)), []
    for name, batch in sorted({key[:2] for key in found}, key=lambda key: (models.index(key[0]), key[1])):
        speeds = [
            rows_per_second(found.get((name, batch, cpu), {}).get(kind))
            for cpu in (False, True)
            for kind in ("with_loader", "without_loader")
        ]
        ratio = f"{speeds[0] / speeds[2]:.1f}" if speeds[0] and speeds[2] else ""
        row = found.get((name, batch, False)) or found[name, batch, True]
        mean = row["with_loader"]["rows"] / row["with_loader"]["steps"]
        lines.append([name, f"{batch:,}", f"{mean:,.0f}", *("" if s is None else f"{s:,.0f}" for s in speeds), ratio])
    head = ["rows per second", "batch", "rows per step", "GPU", "without loader", "CPU", "without loader", "GPU / CPU"]
    return [grid(head, lines)]


def rows_per_second(found: dict | None) -> float | None:
    """Return rows per second of what `rate` gave."""
    return found["rows"] / found["seconds"] if found and found["seconds"] else None


def table_of_fuxictr(report: dict) -> list[str]:
    """Write rows per second of ours and of FuxiCTR."""
    lines = []
    for row in rows_of(report, "fuxictr"):
        theirs = max(row["fuxictr"]["samples_per_second"][1:]) if row["fuxictr"] else None
        mine = rows_per_second(row["ours"])
        ratio = f"{mine / theirs:.2f}" if mine and theirs else ""
        lines.append([row["model"], f"{row['batch']:,}", *(f"{s:,.0f}" if s else "" for s in (mine, theirs)), ratio])
    return [grid(["rows per second, loaders included", "batch", "ours", "FuxiCTR", "ours / FuxiCTR"], lines)]


def table_of_profile(report: dict) -> list[str]:
    """Write the profiled steps, and the operations of the one that took longest on the device."""
    rows = rows_of(report, "profile")
    longest = max(rows, key=lambda row: (row["device_ms"], row["seconds"]))
    steps = [
        [f"{n}{', shown below' if row is longest else ''}", str(row["rows"]), str(row["launches"]), str(row["waits"]),
         str(row["copies"]), f"{row['device_ms']:.2f}", f"{1e3 * row['seconds']:.2f}"]
        for n, row in enumerate(rows, 1)
    ]  # fmt: skip
    head = ["step of hyperctr-best", "rows", "launches", "waits", "copies", "device, ms", "wall, profiled, ms"]
    top = [[op["name"], str(op["calls"]), f"{op['ms']:.3f}"] for op in longest["operations"]]
    return [grid(head, steps), grid(["operation", "calls", f"ms of the {longest['times_of']}"], top)]


TABLES = {
    "tests": table_of_tests,
    "kernels": table_of_kernels,
    "training": table_of_training,
    "fuxictr": table_of_fuxictr,
    "profile": table_of_profile,
}
