"""Forward + backward of one hypergraph convolution without Theta, against PyG and torch.sparse, side by side.

    python benchmarks/kernels.py                       all four hypergraphs on the CPU, 2 threads; about 15 minutes
    python benchmarks/kernels.py --graphs S --repeats 9
    python benchmarks/kernels.py --device cuda         the Triton kernels; needs a GPU

Every method is checked against float64 before it is timed. Repeats are interleaved (A B C A B C ...), the ratio is the
median over repeats; our own paths are compared with one another in rounds of their own. Memory is the growth of a child
process that runs one method alone.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from graphs import Hypergraph, ops
from graphs.kernels import CSR as Compressed
from graphs.kernels import cpu, native

# name: nodes, hyperedges, incidences. M has the shape of MovieLens-10M, both ways round.
GRAPHS = {
    "S": (10_000, 10_000, 1_000_000),
    "M_items": (10_681, 71_567, 10_000_000),
    "M_users": (71_567, 10_681, 10_000_000),
    "L": (1_700_000, 50_000, 12_700_000),
}
PYG, CSR, PLAIN, COMPILED, HALF = (
    "PyG",
    "torch.sparse CSR",
    "graphs, plain torch",
    "graphs, compiled",
    "graphs, bfloat16",
)
# What the project promises: (PLAIN, PYG) on S, M and L, and so on. M stands for both M_items and M_users.
BARS = {
    (PLAIN, PYG): {"S": 35, "M": 40, "L": 12},
    (PLAIN, CSR): {"S": 6, "M": 8, "L": 2.5},
    (COMPILED, PYG): {"S": 50, "M": 65, "L": 20},
    (COMPILED, CSR): {"S": 9, "M": 14, "L": 5},
    (COMPILED, PLAIN): {"S": 1.4, "M": 1.4, "L": 1.4},
    (HALF, COMPILED): {"S": 1.3, "M": 1.3, "L": 1.3},
}
COPY_BANDWIDTH = 0.6  # share of it that the Triton path should reach on M in bytes that must move
ON_GPU = {(PLAIN, PYG): {"M": 10}, (PLAIN, CSR): {"M": 1.5}}  # there PLAIN is the Triton path

log = Console(stderr=True, soft_wrap=True)
app = typer.Typer(add_completion=False)
warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")  # once a process, and nothing to be done


def power_law(num_nodes: int, num_hyperedges: int, incidences: int, seed: int = 0) -> Hypergraph:
    """Distinct pairs whose nodes and hyperedges follow p(rank) ~ (rank + 10)^-0.8, numbers randomly permuted."""
    rng = np.random.default_rng(seed)

    def draw(count: int, size: int) -> np.ndarray:
        cumulative = np.cumsum((np.arange(count) + 11.0) ** -0.8)
        rank = np.searchsorted(cumulative, rng.random(size) * cumulative[-1])
        return rng.permutation(count)[np.minimum(rank, count - 1)]

    key = np.empty(0, dtype=np.int64)
    while len(key) < incidences:
        more = int((incidences - len(key)) * 1.3) + 1000
        key = np.sort(np.concatenate([key, draw(num_hyperedges, more) * num_nodes + draw(num_nodes, more)]))
        key = key[np.diff(key, prepend=-1) > 0]  # np.unique takes ten times as long
    key = rng.permutation(key)[:incidences]
    return Hypergraph.from_pairs(key % num_nodes, key // num_nodes, num_nodes, num_hyperedges)


def ours(h: Hypergraph, kernels: object) -> Callable[[Tensor], Tensor]:
    """`h.propagate` with the kernels given instead of chosen, in the backward pass too."""

    def step(x: Tensor) -> Tensor:
        ops.kernels_for = lambda x, incidences: kernels  # it stays, so that `backward` finds it
        return h.propagate(x)

    return step


def pyg(h: Hypergraph) -> Callable[[Tensor], Tensor]:
    """torch_geometric's HypergraphConv with the identity for Theta; its row form costs what the symmetric one does."""
    from torch_geometric.nn import HypergraphConv

    conv = HypergraphConv(1, 1, bias=False)
    conv.lin = torch.nn.Identity()
    conv.out_channels = None
    index = h.hyperedge_index
    num_edges = h.num_hyperedges

    def step(x: Tensor) -> Tensor:
        conv.out_channels = x.shape[1]
        return conv(x, index, num_edges=num_edges)

    return step


def torch_csr(h: Hypergraph) -> Callable[[Tensor], Tensor]:
    """Two products of torch.sparse CSR matrices into which the degrees are multiplied, with torch's own autograd."""
    left, middle, right = h.scales("sym", torch.float32)
    to_hyperedges = csr_matrix(h.by_hyperedge, middle, right, h.num_nodes)
    to_nodes = csr_matrix(h.by_node, left, None, h.num_hyperedges)
    return lambda x: to_nodes @ (to_hyperedges @ x)


def csr_matrix(csr: Compressed, row_scale: Tensor | None, column_scale: Tensor | None, columns: int) -> Tensor:
    """Make a torch.sparse CSR matrix of ones, its rows and columns scaled; None means ones."""
    value = torch.ones(len(csr.indices), device=csr.indices.device)
    if row_scale is not None:
        value = row_scale.repeat_interleave(csr.indptr.diff())
    if column_scale is not None:
        value = value * column_scale[csr.indices]
    shape = (len(csr.indptr) - 1, columns)
    return torch.sparse_csr_tensor(csr.indptr, csr.indices, value, shape, check_invariants=False)


def methods(h: Hypergraph) -> dict[str, tuple[Callable[[Tensor], Tensor], torch.dtype]]:
    """Name -> (the forward, the dtype of its input)."""
    if h.device.type == "cuda":
        from graphs.kernels import gpu

        return {
            PYG: (pyg(h), torch.float32),
            CSR: (torch_csr(h), torch.float32),
            PLAIN: (ours(h, gpu), torch.float32),
            HALF: (ours(h, gpu), torch.bfloat16),
        }
    found = {PYG: (pyg(h), torch.float32), CSR: (torch_csr(h), torch.float32), PLAIN: (ours(h, cpu), torch.float32)}
    if native.ready():
        found |= {COMPILED: (ours(h, native), torch.float32), HALF: (ours(h, native), torch.bfloat16)}
    return found


def forward_backward(step: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    y = step(x)
    y.backward(gradient)
    return y.detach(), x.grad


def check(name: str, step: Callable, h: Hypergraph, x: Tensor, gradient: Tensor) -> float:
    """Largest error of result and gradient against float64, relative to the largest entry; raises where it is wrong."""
    matrix = h.to_scipy().astype(np.float64) if hasattr(h, "to_scipy") else None
    left, middle, right = (
        None if s is None else s.cpu().numpy()[:, None] for s in h.scales(norm_of(name), torch.float64)
    )

    def exact(x: np.ndarray, left, right) -> np.ndarray:
        y = matrix @ (middle * (matrix.T @ (x if right is None else right * x)))
        return y if left is None else left * y

    few = slice(0, 4)  # of the columns: each is a product of its own
    y, dx = forward_backward(step, x, gradient)
    error = 0.0
    for found, given, scales in ((y, x, (left, right)), (dx, gradient, (right, left))):
        expected = exact(given[:, few].double().cpu().numpy(), *scales)
        error = max(
            error, float(np.abs(found[:, few].double().cpu().numpy() - expected).max() / np.abs(expected).max())
        )
    allowed = 2e-2 if x.dtype == torch.bfloat16 else 1e-5
    if not error < allowed:
        raise SystemExit(f"{name} is wrong by {error:.1e} on {h}")
    return error


def norm_of(name: str) -> str:
    return "row" if name == PYG else "sym"


def timed(run: Callable[[], object], device: str) -> float:
    """Seconds of one call."""
    if device == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(graph: str, h: Hypergraph, dim: int, repeats: int) -> dict:
    """Check and time every method on one hypergraph, in this process."""
    device = h.device.type
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(h.num_nodes, dim, generator=generator).to(device) for _ in range(2))
    runs, errors, seconds = {}, {}, {}
    for name, (step, dtype) in methods(h).items():
        given = x.to(dtype), gradient.to(dtype)
        runs[name] = lambda step=step, given=given: forward_backward(step, *given)
        errors[name] = check(name, step, h, *given)
        log.print(f"  {name}: error {errors[name]:.1e} against float64")
        if name not in (PYG, CSR):
            same_bits(name, runs[name], device)
        seconds[name] = []
    for repeat in range(repeats):
        for name, run in runs.items():
            seconds[name].append(timed(run, device))
        log.print(f"  repeat {repeat + 1} of {repeats}: " + ", ".join(f"{n} {s[-1]:.4f} s" for n, s in seconds.items()))
    among_ours = {name: [] for name in runs if name not in (PYG, CSR)}
    for _ in range(3 * repeats):  # without the others, which take a hundred times as long and empty every cache
        for name, times in among_ours.items():
            times.append(timed(runs[name], device))
    log.print("  ours alone, medians: " + ", ".join(f"{n} {statistics.median(t):.4f} s" for n, t in among_ours.items()))
    times = {"seconds": seconds, "among_ours": among_ours}
    return {"graph": graph, "errors": errors} | times | bandwidth(h, runs, dim, device)


def same_bits(name: str, run: Callable, device: str) -> None:
    first, again = run(), run()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    single = run() if device == "cpu" else again
    torch.set_num_threads(threads)
    if not all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(first, again, single, strict=True)):
        raise SystemExit(f"{name} gives other bits from run to run or from 1 to {threads} threads")


def bandwidth(h: Hypergraph, runs: dict, dim: int, device: str) -> dict:
    """On a GPU: bytes that must move (X and Y once each way, every index once a pass) a second, and those of a copy."""
    if device != "cuda":
        return {}
    large = torch.empty(2**28, device=device)
    target = torch.empty_like(large)
    copied = statistics.median(timed(lambda: target.copy_(large), device) for _ in range(20))
    took = statistics.median(timed(runs[PLAIN], device) for _ in range(20))
    must = 2 * (2 * 4 * h.num_nodes * dim + 2 * 4 * h.num_hyperedges * dim + 2 * 4 * h.num_incidences)
    gathered = 2 * 2 * 4 * h.num_incidences * dim
    return {
        "copy_bandwidth": 2 * 4 * len(large) / copied,
        "needed_bandwidth": must / took,
        "gathered_bandwidth": gathered / took,
    }


def memory(path: Path, name: str, dim: int) -> int:
    """Bytes a child process grows by, beyond result and gradient, while it runs one method once."""
    command = [sys.executable, __file__, "--child", json.dumps([str(path), name, dim])]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(path: str, name: str, dim: int) -> int:
    h = Hypergraph.load(path)
    step, dtype = methods(h)[name]
    x, gradient = torch.randn(h.num_nodes, dim).to(dtype), torch.randn(h.num_nodes, dim).to(dtype)
    h.scales("sym", torch.float32)
    forward_backward(
        methods(power_law(50, 40, 300))[name][0], torch.randn(50, 4).to(dtype), torch.randn(50, 4).to(dtype)
    )
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
    before = kilobytes(status, "VmRSS")
    forward_backward(step, x, gradient)
    return 1024 * (kilobytes(status, "VmHWM") - before) - 2 * x.nbytes


def kilobytes(status: Path, field: str) -> int:
    return int(status.read_text().partition(f"{field}:")[2].split()[0])


def ratios(seconds: dict[str, list[float]], name: str, other: str) -> float:
    """How many times faster `name` is than `other`: the median over the repeats."""
    return statistics.median(b / a for a, b in zip(seconds[name], seconds[other], strict=True))


def table(results: list[dict], bars: dict) -> tuple[str, bool]:
    """Write Markdown with one row per comparison and one column per hypergraph; and whether every bar was reached."""
    lines = ["| times faster, forward + backward | " + " | ".join(r["graph"] for r in results) + " |"]
    lines.append("|---" * (len(results) + 1) + "|")
    reached = True
    for (name, other), bar in bars.items():
        cells = []
        for result in results:
            if name not in result["seconds"]:
                cells.append("not there")
                continue
            seconds = result["among_ours" if other in result["among_ours"] else "seconds"]
            ratio, wanted = ratios(seconds, name, other), bar.get(result["graph"][0])
            missed = wanted is not None and ratio < wanted
            reached &= not missed
            cells.append(f"{ratio:.2f}" + (f" (bar {wanted:g}{', MISSED' if missed else ''})" if wanted else ""))
        lines.append(f"| {name} than {other} | " + " | ".join(cells) + " |")
    for result in results:
        if extra := result.get("memory"):
            shares = ", ".join(f"{n} {b / 2**20:.0f} MB ({b / extra[PYG]:.1%})" for n, b in extra.items())
            lines.append(f"\nExtra memory beyond result and gradient on {result['graph']}: {shares}.")
            reached &= all(
                bytes_ <= 0.05 * extra[PYG] for name, bytes_ in extra.items() if name in (PLAIN, COMPILED, HALF)
            )
        if "copy_bandwidth" in result:
            needed, gathered = (
                result[k] / result["copy_bandwidth"] for k in ("needed_bandwidth", "gathered_bandwidth")
            )
            missed = result["graph"][0] == "M" and needed < COPY_BANDWIDTH
            reached &= not missed
            lines.append(
                f"\n{result['graph']}: {needed:.0%} of the copy bandwidth in bytes that must move"
                f"{' (bar 60%, MISSED)' if missed else ''}, {gathered:.0%} in bytes gathered."
            )
    return "\n".join(lines), reached


@app.command(help=__doc__)
def main(
    graphs: Annotated[str, typer.Option(help="Which hypergraphs, by comma: " + ", ".join(GRAPHS))] = ",".join(GRAPHS),
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    dim: Annotated[int, typer.Option(help="Width of X")] = 64,
    repeats: Annotated[int, typer.Option(help="Interleaved repeats a hypergraph")] = 7,
    threads: Annotated[int, typer.Option(help="Threads of torch on the CPU")] = 2,
    memory_too: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure memory in child processes")] = True,
    out: Annotated[Path | None, typer.Option(help="Write the table here as well, and the figures beside it")] = None,
    child_of: Annotated[str, typer.Option("--child", hidden=True)] = "",
) -> None:
    torch.set_num_threads(threads)
    if child_of:
        print(child(*json.loads(child_of)))
        return
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: nothing was measured")
    unknown = set(graphs.split(",")) - set(GRAPHS)
    if unknown:
        raise SystemExit(f"unknown hypergraph {', '.join(sorted(unknown))}; there are {', '.join(GRAPHS)}")
    results = []
    for graph in graphs.split(","):
        log.print(f"{graph}: making {GRAPHS[graph]}")
        h = power_law(*GRAPHS[graph]).to(device)
        results.append(measure(graph, h, dim, repeats))
        if memory_too and device == "cpu":
            with tempfile.TemporaryDirectory() as folder:
                h.save(Path(folder) / "h.npz")
                names = results[-1]["seconds"]
                results[-1]["memory"] = {name: memory(Path(folder) / "h.npz", name, dim) for name in names}
    text, reached = table(results, BARS if device == "cpu" else ON_GPU)
    print(text)
    if out:
        out.write_text(text + "\n")
        out.with_suffix(".json").write_text(json.dumps(results, indent=1))
    if not reached:
        raise SystemExit(1)


if __name__ == "__main__":
    app()
