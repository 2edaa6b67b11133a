"""C files built once with the machine's own C compiler, for whoever has a faster body for what plain torch does.

Nothing is compiled when the package is installed. The first use looks for cc, gcc or clang, or the compiler of the
`ziglang` package (the extra `compiled`), and keeps the library in the user's cache directory. Where that does not work
plain torch stays in use; the logger "graphs" says why. GRAPHS_COMPILED=0 turns it off.
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

FLAGS = ["-std=gnu11", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-pthread"]


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """The library of a C file, None where it could not be built or loaded; tried once in a process."""
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
    """The functions of the OpenMP that torch brought, if it is GCC's: to start and meet threads, and to number them."""
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
        beside = path.with_name(f".{os.getpid()}-{name}")
        try:
            subprocess.run(
                [*_compiler(), *FLAGS, str(source), "-o", str(beside), "-lm"],
                check=True,
                capture_output=True,
                timeout=120,
            )
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    return ctypes.CDLL(str(path))


def _compiler() -> list[str]:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise FileNotFoundError("no C compiler; pip install 'hyperctr[compiled]' brings one")


def _cache() -> Path:
    """A folder that is ours alone: what lies in it is loaded as code."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hyperctr"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="hyperctr-"))
