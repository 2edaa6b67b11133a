"""What a case needs: a folder, the command line in this process, tiny data, and a list of what is wrong."""

import contextlib
import io
import os
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

START = 1_700_000_000  # of the tiny logs, unix seconds
ROLES = {"user": '"user_id"', "item": '"item_id"', "time": '"timestamp"', "click": '"click"', "non_clicks": '"logged"'}
INTERNAL = (  # words that Python, numpy or a library says where nobody looked for the fault
    "Traceback", "object is not", "'NoneType'", "unexpected keyword", "PanicException", "not subscriptable",
    "np.int64(", "list index out of range", "must be str, not", "has no attribute", "len() of unsized",
)  # fmt: skip


class Late(BaseException):
    """Too much time was taken; no `except Exception` may hide it."""


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code ("crash" where it raised), what it printed, and the seconds it took."""

    code: Any
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        """All that was printed."""
        return self.out + self.err

    @property
    def last(self) -> str:
        """The last line on stderr."""
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""


@dataclass
class Case:
    """One case: a folder of its own, and what was found wrong."""

    folder: Path
    wrong: list[str] = field(default_factory=list)
    checks: int = 0

    def check(self, holds: Any, found: Any) -> bool:
        """Note what was found where a statement does not hold."""
        self.checks += 1
        if not holds:
            self.wrong.append(" ".join(str(found).split())[:400])
        return bool(holds)

    def equal(self, got: Any, right: Any, what: str) -> bool:
        """Check that two plain values are equal."""
        return self.check(got == right, f"{what}: {got!r}, right is {right!r}")

    def works(self, *words: Any, seconds: float = 60, **more: Any) -> Done:
        """Call the command and check that it ends well."""
        done = call(*words, seconds=seconds, **more)
        self.check(done.code == 0, f"`{shown(words)}` ended with {done.code}: {done.last}")
        return done

    def refused(self, *words: Any, says: tuple[str, ...] = (), absent: Path | None = None, **more: Any) -> Done:
        """Call the command and check that it ends in one clear line, with exit code 2, before anything is written."""
        done = call(*words, **more)
        errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
        good = done.code == 2 and len(errors) == 1 and not any(word in done.err for word in INTERNAL)
        if not self.check(good, f"`{shown(words)}` must be refused in one line, ended with {done.code}: {done.last}"):
            return done
        for word in says:
            self.check(word.lower() in errors[0].lower(), f"`{shown(words)}` does not say {word!r}: {errors[0]}")
        if absent is not None:
            self.check(not absent.exists(), f"`{shown(words)}` was refused after {absent.name} was written")
        return done

    def raises(self, do: Callable[[], Any], *says: str, what: str) -> None:
        """Check that a call from Python is refused by a ValueError in clear words."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = do()
        except (ValueError, TypeError, FileNotFoundError) as error:
            text = str(error)
            self.check(not any(word in text for word in INTERNAL), f"{what}: {type(error).__name__}: {text}")
            for word in says:
                self.check(word.lower() in text.lower(), f"{what} does not say {word!r}: {text}")
        except Exception as error:
            self.check(False, f"{what}: {type(error).__name__}: {error}")
        else:
            self.check(False, f"{what} was accepted, gave {str(got)[:80]}")


def has(text: str, *words: str) -> bool:
    """Return whether a text has each of the words, as whole words."""
    return all(re.search(rf"(?<!\w)(?:{word})(?!\w)", text, re.IGNORECASE) for word in words)


def shown(words: tuple) -> str:
    """Write a command as one would type it, without the settings that only make it small."""
    short = [Path(word).name if isinstance(word, Path) else str(word) for word in words]
    kept = [
        w for k, w in enumerate(short) if w not in SMALL and not (w == "--set" and short[k + 1 : k + 2][0] in SMALL)
    ]
    return " ".join(kept)


def call(*words: Any, seconds: float = 60, stdin: str = "") -> Done:
    """Call the command in this process as the shell does, and end it where it takes too long."""
    from hyperctr.cli.main import main

    out, err, began = io.StringIO(), io.StringIO(), time.perf_counter()
    kept = sys.argv, list(sys.path), warnings.showwarning
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("default")
        for hidden in (ResourceWarning, DeprecationWarning, PendingDeprecationWarning, ImportWarning):  # as Python does
            warnings.simplefilter("ignore", hidden)
        sys.argv = ["hyperctr", *map(str, words)]
        try:
            with at_most(seconds):
                main()
        except SystemExit as ended:
            code = ended.code or 0
        except Late:
            code = f"no end after {seconds:g} s"
        except BaseException as error:
            code = "crash"
            where = traceback.extract_tb(error.__traceback__)[-1]
            err.write(f"\n{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})\n")
        finally:
            sys.argv, sys.path[:], warnings.showwarning = kept
    return Done(code, out.getvalue(), err.getvalue(), time.perf_counter() - began)


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `Late` in the block after so much time."""

    def late(*_: Any) -> None:
        raise Late(f"no end after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def full_disk(size: int = 1_000) -> Iterator[None]:
    """Let no file grow beyond a size: writing then fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def rows(count: int = 240, users: int = 12, items: int = 10, seed: int = 0, every: int = 3600, **more: Any) -> dict:
    """Make the columns of a tiny log: impressions one hour apart, half of them clicked, no pair at one time."""
    rng = np.random.default_rng(seed)
    table = {
        "user_id": rng.integers(users, size=count),
        "item_id": 100 + rng.integers(items, size=count),
        "timestamp": START + every * np.arange(count),
        "click": rng.integers(2, size=count),
    }
    return table | {name: column(rng, count) if callable(column) else column for name, column in more.items()}


def write(
    folder: Path, log: dict, roles: dict | None = None, more: str = "", ending: str = "csv", **tables: dict
) -> Path:
    """Write a data folder; `roles` replace those of [interactions], None takes one out; `more` ends dataset.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in {"interactions": log, **tables}.items():
        frame = pl.DataFrame(table)
        frame.write_csv(folder / f"{name}.csv") if ending == "csv" else frame.write_parquet(folder / f"{name}.parquet")
    chosen = {role: value for role, value in (ROLES | (roles or {})).items() if value is not None}
    lines = ["[interactions]", *(f"{role} = {value}" for role, value in chosen.items())]
    (folder / "dataset.toml").write_text("\n".join(lines) + "\n" + more + "\n")
    return folder


SETS = {
    "": ("train.epochs=1", "train.threads=1", "train.batch_size=64", "data.history=5", "evaluate.negatives=5"),
    "hyperctr": ("model.dim=8", "model.depth=1", "interest.epochs=1"),
    "din": ("model.dim=8", "model.hidden=[8]"),
    "deepfm": ("model.dim=8", "model.hidden=[8]"),
    "mian": ("model.dim=8", "model.history=5"),
}
SMALL = {key for keys in SETS.values() for key in keys}


def tiny(model: str, *more: str) -> list[str]:
    """Return the options of a run that trains within a second; without a model: those that fit every model."""
    own = (f"model.name={model}", *SETS.get(model, ())) if model else ()
    keys = [*own, *SETS[""], *more]
    return [word for key in keys for word in ("--set", key)]


def is_strict_json(text: str) -> Any:
    """Parse JSON without NaN and Infinity; None where it is not such JSON."""
    import json

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return None
