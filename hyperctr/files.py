"""Write files and folders that a killed process cannot spoil, and claim a folder for one process.

Everything is written beside its final name, under a hidden name with the number of the process, and then moved there.
Nothing else in hyperctr moves, replaces or locks a file.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a hidden path beside `path` to write to, with the same ending; it takes the name when the block ends.

    An error leaves what was there before. The folder is made.

    Raises:
        ValueError: the file cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except Exception as error:
        if why := _failed_write(error):
            raise ValueError(f"cannot write {path}: {why}") from None
        raise
    finally:
        _remove(part)


def _failed_write(error: Exception) -> str:
    """Say why the system did not write, also where a library puts it into an error of its own; "" for other errors."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if found := re.search(r"([^:]+) \(os error \d+\)", str(error)):  # safetensors and polars, written in Rust
        return found[1].strip()
    return f"{error} (is the disk full?)" if isinstance(error, OSError) else ""


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes."""
    with atomic(path) as part:
        part.write_bytes(content)


def to_json(value: Any, indent: int | None = 1) -> str:
    """Write a value as JSON that every reader accepts: NaN and infinity, which JSON does not have, become null.

    Numbers and arrays of numpy become plain ones, times ISO text, and everything else its text.

    >>> to_json({"auc": float("nan"), "rows": [1, 2.5]}, indent=None)
    '{"auc": null, "rows": [1, 2.5]}'
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def write_json(path: str | Path, value: Any, indent: int | None = 1) -> None:
    """Write a value as strictly valid JSON, see `to_json`."""
    write_text(path, to_json(value, indent))


def read_json(path: str | Path, what: str = "JSON") -> Any:
    """Read a JSON file, also one of earlier versions with the bare word NaN.

    Args:
        path: the file.
        what: what the file should be, for an error.

    Raises:
        ValueError: the file is missing, unreadable or damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, it is no {what}: {error}") from None


def _plain(value: Any) -> Any:
    """Return a value as what JSON has."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(x) for x in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if hasattr(value, "tolist"):  # numbers and arrays of numpy and torch
        return _plain(value.tolist())
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name as safetensors, with texts by name as metadata."""
    from safetensors.torch import save_file

    with atomic(path) as part:
        save_file({name: x.cpu().contiguous() for name, x in tensors.items()}, part, metadata)


def load_tensors(path: str | Path, remedy: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and texts by name, as `save_tensors` wrote them.

    Args:
        path: the file.
        remedy: what helps where the file is damaged, for the error.

    Raises:
        ValueError: the file is missing, cannot be read, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}){remedy and f'; {remedy}'}") from None


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Read the lines of a CSV file with a header; a file that is missing has none.

    Raises:
        ValueError: the file is no UTF-8 text, or a line has another number of cells than the header (it is named).
    """
    path = Path(path)
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    for number, line in enumerate(lines, 2):
        if None in line or None in line.values():
            raise ValueError(f"{path}, line {number}: another number of cells than the header; is the file damaged?")
    return lines


def write_csv(path: str | Path, lines: Iterable[Mapping[str, Any]], nan: str = "") -> None:
    """Write lines as CSV under the columns of all of them, and NaN as `nan`; without a line no file is written."""
    lines, text = [*lines], io.StringIO()
    if not lines:
        return
    writer = csv.DictWriter(text, list(dict.fromkeys(chain(*lines))), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({key: nan if isinstance(x, float) and math.isnan(x) else x for key, x in line.items()})
    write_text(path, text.getvalue())


def append_csv(path: str | Path, line: Mapping[str, Any]) -> None:
    """Add a line to a CSV file, NaN as "nan"; a killed call leaves the old file whole."""
    write_csv(path, [*read_csv(path), line], nan="nan")


@contextmanager
def replace_folder(
    path: str | Path, mark: str, ours: Callable[[str], bool], by: str, begins: str = ""
) -> Iterator[Path]:
    """Give a hidden folder beside `path` to fill; it takes the name when the block ends, in the place of an older one.

    An error leaves what was there before.

    Args:
        path: the folder.
        mark: name of a file that every folder of this kind has.
        ours: says of another file's name whether a folder of this kind may have it.
        by: what writes such folders, for an error.
        begins: how the text of the mark begins.

    Raises:
        ValueError: the path is taken by something of another kind, another process is writing it, or it cannot be
            written.
    """
    path = Path(path)
    part, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    try:
        if taken := _taken(path, mark, ours, by, begins):
            raise ValueError(f"{path} is already there and {taken}; choose another folder or remove it")
        with _claim(path, path.with_name(f".{path.name}.lock")) as claim:
            claim.callback(_put_back, path, part, old)
            shutil.rmtree(part, ignore_errors=True)  # left by a killed process that had the same number
            part.mkdir()
            yield part
            if path.exists():
                path.rename(old)
            part.rename(path)
    except Exception as error:
        if why := _failed_write(error):
            raise ValueError(f"cannot write to {path}: {why}") from None
        raise


def _put_back(path: Path, part: Path, old: Path) -> None:
    """Give an old folder its name back where no new one took it, and remove what is left."""
    if old.exists() and not path.exists():
        old.rename(path)
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)


def _taken(path: Path, mark: str, ours: Callable[[str], bool], by: str, begins: str) -> str:
    """Say why a folder must not be replaced; "" if it may."""
    if path.name in ("", ".."):
        return "has no name of its own"
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        return "is a link" if path.is_symlink() else "is no folder"
    names = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
    if foreign := [name for name in names if name != mark and not ours(name)]:
        return f"contains {foreign[0]}, which was not written by {by}"
    marked = mark in names and (path / mark).read_text(encoding="utf-8", errors="replace").startswith(begins)
    return f"was not written by {by}" if names and not marked else ""


def claim_folder(path: str | Path) -> ExitStack:
    """Make a folder that only this process may write from this call to the end of a `with` block.

    The operating system ends the claim of a process that dies.

    Raises:
        ValueError: another process has claimed the folder, or it cannot be written.
    """
    path = Path(path)
    claim = _claim(path, path / ".lock")
    for left in path.glob(".[0-9]*.*"):
        _remove(left)  # half a file of a killed process
    return claim


def _claim(path: Path, lock: Path) -> ExitStack:
    """Lock a file until the end of a `with` block; `path` is what is written meanwhile, for an error."""
    claim = ExitStack()
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = lock.open("a")
            if not _locked(file):
                raise ValueError(f"another process is writing to {path}: wait until it ends, or choose another --out")
            if lock.exists() and os.path.samestat(lock.stat(), os.fstat(file.fileno())):
                break
            file.close()  # the process before removed this file after it was opened here
    except OSError as error:
        raise ValueError(f"cannot write to {path}: {error.strerror or error}") from None
    claim.callback(file.close)
    claim.callback(_remove, lock)  # while it is locked: nobody can lock the removed file and another a new one
    return claim


def _remove(path: Path) -> None:
    with suppress(OSError):  # Windows removes no open file
        path.unlink()


def _locked(file: IO) -> bool:
    """Lock an open file and return whether that worked; a file system without locks has no other process to refuse."""
    try:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True
