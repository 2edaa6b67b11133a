"""Run inputs that once gave wrong results, lost something, crashed or were unclear, and print right or wrong for each.

    python tests/cases/run.py              every case
    python tests/cases/run.py A2 B         case A2 and all of part B

A: something wrong or lost without a word. B: a crash, or no end. C: unclear. D: damaged or changed files. E: kinds of
logs. A case is a function whose name begins with its id; its docstring says what is right. The exit code is 1 if a
case is wrong.
"""

import inspect
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


def cases() -> dict[str, Callable]:
    """Return every case by its id, in order."""
    import cases_crash
    import cases_lost
    import cases_lost_columns
    import cases_lost_graphs
    import cases_unclear
    import cases_whole_logs

    found = {}
    for module in (cases_lost, cases_lost_columns, cases_lost_graphs, cases_crash, cases_unclear, cases_whole_logs):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if (match := re.match(r"([a-e]\d+)_", name)) and function.__module__ == module.__name__:
                found[match[1].upper()] = function
    return dict(sorted(found.items(), key=lambda entry: (entry[0][0], int(entry[0][1:]))))


def run(function: Callable, folder: Path) -> tuple[list[str], int]:
    """Run one case in an empty folder; return what is wrong, and how many statements were checked."""
    import torch
    from case_bench import Case

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    case = Case(folder)
    try:
        function(case)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        own = [step for step in where if step.filename.startswith(str(HERE))][-1]
        case.check(False, f"line {own.lineno}: {type(error).__name__}: {error}")
    finally:
        torch.set_num_threads(threads)
    return case.wrong, case.checks


def main(words: list[str]) -> int:
    """Run the chosen cases, print a line for each, and return the exit code."""
    chosen = {name: f for name, f in cases().items() if not words or {name, name[0]} & {w.upper() for w in words}}
    if not chosen:
        print(f"no such case; there are {', '.join(cases())}")
        return 2
    failed, began = 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        for name, function in chosen.items():
            started = time.perf_counter()
            wrong, checks = run(function, Path(scratch) / name)
            failed += bool(wrong)
            title = (function.__doc__ or "").strip().splitlines()[0]
            took = time.perf_counter() - started
            print(
                f"{name:4} {'WRONG' if wrong else 'right'}  {title} [{checks - len(wrong)} of {checks}, {took:.1f} s]"
            )
            for found in wrong:
                print(f"           {found}")
            sys.stdout.flush()
    print(f"{len(chosen) - failed} of {len(chosen)} right, {time.perf_counter() - began:.0f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
