"""C files compiled once with the machine's own C compiler, as faster versions of what plain torch does.

Nothing is compiled when the package is installed. The first use looks for cc, gcc or clang, or the compiler of the
`ziglang` package (the extra `compiled`), and keeps the library in the user's cache directory. If that fails, plain
torch is used, and the logger "graphs" says why. GRAPHS_COMPILED=0 turns it off.
"""

import ctypes
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from graphs.atomic import replaced

FLAGS = ["-std=gnu11", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-pthread"]


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """Build and load the library of a C file, once per process; None if that fails."""
    log = logging.getLogger("graphs")
    if os.environ.get("GRAPHS_COMPILED") == "0" or sys.platform != "linux":
        return None
    try:
        found = _built(source)
    except (OSError, subprocess.SubprocessError) as error:
        log.info("no compiled kernels, plain torch instead: %s", error)
        return None
    log.info("compiled kernels: %s", found._name)
    return found


@cache
def team() -> ctypes.Array | None:
    """Return the functions of torch's own OpenMP, if it is GCC's, that start, synchronise and number threads."""
    try:
        openmp = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        names = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads")
        return (ctypes.c_void_p * 4)(*(ctypes.cast(getattr(openmp, name), ctypes.c_void_p).value for name in names))
    except (OSError, AttributeError):
        return None


def _built(source: Path) -> ctypes.CDLL:
    processor = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0]
    made_of = [source.read_bytes(), *(text.encode() for text in (*FLAGS, platform.machine(), processor))]
    name = f"{source.stem}-{hashlib.sha256(b'|'.join(made_of)).hexdigest()[:16]}.so"
    path = _cache() / name
    if not path.exists():
        with replaced(path) as part:
            command = [*_compiler(), *FLAGS, str(source), "-o", str(part), "-lm"]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
    return ctypes.CDLL(str(path))


def _compiler() -> list[str]:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise FileNotFoundError("no C compiler; pip install 'hyperctr[compiled]' brings one")


def _cache() -> Path:
    """Return a folder that only this user can write to, because its files are loaded as code."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hyperctr"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="hyperctr-"))
