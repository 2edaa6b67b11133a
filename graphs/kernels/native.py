"""The compiled CPU path: native.c, built once with the machine's own C compiler, for float32 and bfloat16.

Nothing is compiled when the package is installed. The first large product looks for cc, gcc or clang, or the compiler
of the `ziglang` package (the extra `compiled`), and keeps the library in the user's cache directory. Where that does
not work, `graphs.kernels.cpu` stays in use; the logger "graphs" says why. GRAPHS_COMPILED=0 turns it off.
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

import torch
from torch import Tensor

from graphs.kernels import CSR, cpu
from graphs.kernels.cpu import sddmm, spmm

__all__ = ["propagate", "ready", "sddmm", "spmm"]

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ["-std=gnu11", "-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC", "-pthread"]
DTYPES = (torch.float32, torch.bfloat16)
LONG = 2**20  # where both sides have more rows, the tables of the shorter one would take over 256 MB a thread


@cache
def ready() -> bool:
    """Whether the library could be built and loaded; tried once in a process."""
    log = logging.getLogger("graphs")
    if os.environ.get("GRAPHS_COMPILED") == "0" or sys.platform != "linux":
        return False
    try:
        log.info("compiled kernels: %s", _library()._name)
    except (OSError, subprocess.SubprocessError) as error:
        log.info("no compiled kernels, plain torch instead: %s", error)
        return False
    return True


def propagate(
    by_node: CSR, by_hyperedge: CSR, left: Tensor | None, middle: Tensor, right: Tensor | None, x: Tensor
) -> Tensor:
    """left * H (middle * H^T (right * x)), where None stands for ones: [nodes, dim] -> [nodes, dim].

    Sums are float32; the result of H^T, too, is rounded to bfloat16 where x is bfloat16. The same bits whatever the
    number of threads, which is torch's own.

    Raises:
        ValueError: x is neither float32 nor bfloat16, or the indices are not int32.
        MemoryError: no memory for the tables, or no thread could be started.
    """
    if x.dtype not in DTYPES or by_node.indices.dtype != torch.int32:
        raise ValueError(f"compiled kernels take float32 or bfloat16 and int32 indices, got {x.dtype}")
    x = x.contiguous()
    y = torch.empty_like(x)
    if not x.numel() or not by_node.indices.numel():
        return y.zero_()
    scales = [None if scale is None else scale.float().contiguous() for scale in (left, middle, right)]
    sizes = (len(by_node.indptr) - 1, len(by_hyperedge.indptr) - 1, x.shape[1], torch.get_num_threads())
    if min(sizes[:2]) > LONG:
        return cpu.propagate(by_node, by_hyperedge, left, middle, right, x)
    pointers = [None if t is None else t.data_ptr() for t in (*by_node, *by_hyperedge, *scales, x, y)]
    if _library().propagate(*sizes, x.dtype == torch.bfloat16, *pointers, _team()):
        raise MemoryError("no memory or no thread for the compiled kernels")
    return y


@cache
def _library() -> ctypes.CDLL:
    processor = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0]
    made_of = [SOURCE.read_bytes(), *(text.encode() for text in (*FLAGS, platform.machine(), processor))]
    name = f"graphs-{hashlib.sha256(b'|'.join(made_of)).hexdigest()[:16]}.so"
    path = _cache() / name
    if not path.exists():
        beside = path.with_name(f".{os.getpid()}-{name}")
        try:
            subprocess.run(
                [*_compiler(), *FLAGS, str(SOURCE), "-o", str(beside)], check=True, capture_output=True, timeout=120
            )
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    library = ctypes.CDLL(str(path))
    library.propagate.argtypes = [ctypes.c_int64] * 4 + [ctypes.c_int] + [ctypes.c_void_p] * 12
    library.propagate.restype = ctypes.c_int
    return library


@cache
def _team() -> ctypes.Array | None:
    """The functions of the OpenMP that torch brought, if it is GCC's; None leaves native.c to start threads itself."""
    try:
        openmp = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        names = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads")
        return (ctypes.c_void_p * 4)(*(ctypes.cast(getattr(openmp, name), ctypes.c_void_p).value for name in names))
    except (OSError, AttributeError):
        return None


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
