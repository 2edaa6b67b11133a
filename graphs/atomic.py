"""Files and folders that appear complete or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a hidden path next to `path` for a new file or folder, which is renamed to `path` at the end.

    An error leaves what was there before. A killed process leaves it too, and perhaps the hidden path.
    """
    path = Path(path)
    part, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    try:
        _remove(part)  # a killed process may have had the same number
        yield part
        if part.is_dir() and path.exists():  # no system renames onto a folder that is not empty
            path.rename(old)
        os.replace(part, path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        _remove(part)
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
