"""The CUDA path in Triton: a segment sum over the CSR without stored messages or atomics; every run gives equal bits.

Rows are cut into chunks, and a program sums several chunks in parallel for a block of columns. A row of one chunk goes
straight to the output. The chunks of a longer row leave partial sums, which the same kernel then sums. A product is
therefore one launch, two if a row is long, and three if the partial sums of a row are a long row again.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from graphs.kernels import CSR

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError("products on CUDA tensors need Triton: pip install triton") from error

# A chunk is at most 16 steps. It is long enough that its partial sum (2 rows moved per up to 512 gathered) costs almost
# nothing, and short enough that a popular item does not keep one multiprocessor busy after the others have finished.
STEPS = 16
# There are no atomics and each sum has a fixed order, so only rounding could differ between versions of Triton. Its
# default for fusing changes; here a multiplication and an addition are always fused, which rounds once, not twice.
FUSION = {"enable_fp_fusion": True}


def spmm(csr: CSR, x: Tensor) -> Tensor:
    """Sum, for each row of the matrix, the rows of x at its columns: [columns, dim] -> [rows, dim].

    float16 and bfloat16 accumulate in float32. A row without incidences gives zeros.
    """
    return _sum(csr, x, None, None, x.dtype)


def propagate(
    by_node: CSR, by_hyperedge: CSR, left: Tensor | None, middle: Tensor, right: Tensor | None, x: Tensor
) -> Tensor:
    """Compute left * H (middle * H^T (right * x)); None means ones: [nodes, dim] -> [nodes, dim].

    `left` and `right` are [nodes], `middle` is [hyperedges]; float16 and bfloat16 are summed in float32. With bfloat16
    the rows of hyperedges in between are rounded to bfloat16 too, so that the second pass reads half the bytes. With
    float16 they are not, because sums over large hyperedges would leave its range.
    """
    between = torch.float32 if x.dtype == torch.float16 else x.dtype
    y = _sum(by_hyperedge, x, middle, right, between)  # [hyperedges, dim]
    return _sum(by_node, y, left, None, x.dtype)


def sddmm(csr: CSR, a: Tensor, b: Tensor) -> Tensor:
    """Compute the dot product of a_r and b_{indices_k} for each incidence k of each row r: [incidences], float32.

    `a` is [rows, dim] and `b` [columns, dim]; float64 gives float64. The values of the matrix are not read.
    """
    out = a.new_empty(len(csr.indices), dtype=_accumulator(a))
    if not len(out):
        return out
    chunks = _plan(csr)[0]
    a, b = _rows_contiguous(a), _rows_contiguous(b)
    blocks = _blocks(a.shape[1], chunks.width)
    with torch.cuda.device_of(a):
        _dot_segments[(triton.cdiv(len(chunks.begin), blocks["CHUNKS"]),)](
            chunks.begin,
            chunks.length,
            chunks.row,
            csr.indices,
            a,
            b,
            out,
            len(chunks.begin),
            a.shape[1],
            a.stride(0),
            b.stride(0),
            **blocks,
            **FUSION,
        )
    return out


def _sum(csr: CSR, x: Tensor, left: Tensor | None, right: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Compute y_r = left_r * sum over the incidences k of row r of value_k right_{indices_k} x_{indices_k}."""
    dim = x.shape[1]
    y = x.new_empty(len(csr.indptr) - 1, dim, dtype=dtype)
    if not y.numel():
        return y
    left, right, value = (None if a is None else a.contiguous() for a in (left, right, csr.value))
    source, indices = _rows_contiguous(x), csr.indices
    with torch.cuda.device_of(x):
        for chunks in _plan(csr):
            blocks = _blocks(dim, chunks.width)
            partial = None if chunks.slot is None else x.new_empty(chunks.num_slots, dim, dtype=_accumulator(x))
            # All chunks of one block of columns come before the next block, so that only a narrow strip of a wide x
            # has to stay in the L2 cache at a time.
            _sum_segments[triton.cdiv(len(chunks.begin), blocks["CHUNKS"]), triton.cdiv(dim, blocks["DIM"])](
                chunks.begin,
                chunks.length,
                chunks.row,
                chunks.slot,
                indices,
                value,
                left,
                right,
                source,
                y,
                partial,
                len(chunks.begin),
                dim,
                source.stride(0),
                **blocks,
                **FUSION,
            )
            source, indices, value, right = partial, None, None, None  # the next launch sums the partial sums
    return y


@triton.jit(do_not_specialize=["num_chunks"])
def _sum_segments(
    begins,
    lengths,
    rows,
    slots,
    indices,
    value,
    left,
    right,
    x,
    y,
    partial,
    num_chunks,
    dim,
    stride,
    CHUNKS: tl.constexpr,
    WIDTH: tl.constexpr,
    DIM: tl.constexpr,
):
    """Sum CHUNKS chunks over DIM columns, WIDTH incidences of each per step; None drops a factor when compiled."""
    ACCUMULATOR: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    first = tl.program_id(0) * CHUNKS
    chunk = first + tl.arange(0, CHUNKS)
    real = chunk < num_chunks
    begin = tl.load(begins + chunk, mask=real, other=0)[:, None]
    length = tl.load(lengths + chunk, mask=real, other=0)[:, None]
    column = tl.program_id(1) * DIM + tl.arange(0, DIM)
    in_row = (column < dim)[None, :]

    # Each lane has its own sum, so that no step waits for another one; they are added once, after the loop.
    total = tl.zeros([CHUNKS, WIDTH, DIM], ACCUMULATOR)
    for step in range(0, tl.load(lengths + first), WIDTH):  # chunks come longest first
        offset = step + tl.arange(0, WIDTH)[None, :]
        inside = offset < length  # [CHUNKS, WIDTH]
        k = begin + offset
        source = k if indices is None else tl.load(indices + k, mask=inside, other=0)
        # A row times its stride passes 2^31 long before the number of rows does.
        address = x + (source.to(tl.int64) * stride)[:, :, None] + column[None, None, :]
        message = tl.load(address, mask=inside[:, :, None] & in_row[None, :, :], other=0).to(ACCUMULATOR)
        if value is not None:
            message *= tl.load(value + k, mask=inside, other=0).to(ACCUMULATOR)[:, :, None]
        if right is not None:  # 4 bytes per gathered row; scaling x beforehand would read and write all of it
            message *= tl.load(right + source, mask=inside, other=0).to(ACCUMULATOR)[:, :, None]
        total += message
    result = tl.sum(total, 1)  # [CHUNKS, DIM]

    row = tl.load(rows + chunk, mask=real, other=0)
    whole = real
    if slots is not None:
        slot = tl.load(slots + chunk, mask=real, other=0)  # -1: the chunk is a whole row
        whole = real & (slot < 0)
        address = partial + (slot.to(tl.int64) * dim)[:, None] + column[None, :]
        tl.store(address, result, mask=(real & (slot >= 0))[:, None] & in_row)
    if left is not None:
        result *= tl.load(left + row, mask=whole, other=0).to(ACCUMULATOR)[:, None]
    address = y + (row.to(tl.int64) * dim)[:, None] + column[None, :]
    tl.store(address, result.to(y.dtype.element_ty), mask=whole[:, None] & in_row)


@triton.jit(do_not_specialize=["num_chunks"])
def _dot_segments(
    begins,
    lengths,
    rows,
    indices,
    a,
    b,
    out,
    num_chunks,
    dim,
    stride_a,
    stride_b,
    CHUNKS: tl.constexpr,
    WIDTH: tl.constexpr,
    DIM: tl.constexpr,
):
    """Compute out_k = a_row . b_{indices_k} for the incidences k of CHUNKS chunks; one program reads all columns."""
    ACCUMULATOR: tl.constexpr = tl.float64 if a.dtype.element_ty == tl.float64 else tl.float32
    first = tl.program_id(0) * CHUNKS
    chunk = first + tl.arange(0, CHUNKS)
    real = chunk < num_chunks
    begin = tl.load(begins + chunk, mask=real, other=0)[:, None]
    length = tl.load(lengths + chunk, mask=real, other=0)[:, None]
    row = tl.load(rows + chunk, mask=real, other=0)[:, None]
    for step in range(0, tl.load(lengths + first), WIDTH):  # chunks come longest first
        offset = step + tl.arange(0, WIDTH)[None, :]
        inside = offset < length  # [CHUNKS, WIDTH]
        k = begin + offset
        source = tl.load(indices + k, mask=inside, other=0)
        total = tl.zeros([CHUNKS, WIDTH, DIM], ACCUMULATOR)
        for block in range(0, dim, DIM):
            column = (block + tl.arange(0, DIM))[None, None, :]
            mask = inside[:, :, None] & (column < dim)
            mine = tl.load(
                a + (row.to(tl.int64) * stride_a)[:, :, None] + column,
                mask=real[:, None, None] & (column < dim),
                other=0,
            )
            other = tl.load(b + (source.to(tl.int64) * stride_b)[:, :, None] + column, mask=mask, other=0)
            total += mine.to(ACCUMULATOR) * other.to(ACCUMULATOR)
        tl.store(out + k, tl.sum(total, 2), mask=inside)


class Chunks(NamedTuple):
    """The chunks that the programs of one launch sum, longest first, so that neighbours take equally many steps."""

    begin: Tensor
    """First incidence, or partial sum, of each chunk, [chunks]."""
    length: Tensor
    """Incidences of each chunk, [chunks], int32; an empty row is a chunk of length 0, which writes its zeros."""
    row: Tensor
    """Row of each chunk, [chunks]."""
    slot: Tensor | None
    """Place of the partial sum of each chunk, [chunks]; -1 for a whole row. None: every row is whole."""
    num_slots: int
    width: int
    """Incidences of a chunk that are read at once, a power of two."""


_plans = WeakTensorKeyDictionary()  # a cache; an entry ends with the `indptr` that it was made for


def _plan(csr: CSR) -> list[Chunks]:
    """Return the launches that sum every row, each over the partial sums of the one before; made once per matrix."""
    if csr.indptr not in _plans:
        rows = torch.arange(len(csr.indptr) - 1, device=csr.indptr.device, dtype=csr.indptr.dtype)
        _plans[csr.indptr] = _cut(csr.indptr, rows, len(csr.indices))
    return _plans[csr.indptr]


def _cut(indptr: Tensor, rows: Tensor, total: int) -> list[Chunks]:
    """Cut rows into chunks; rows of several chunks are cut again, as rows of partial sums."""
    # The largest power of two up to the mean length: then rounding rows up to whole steps adds at most as many lanes as
    # there are incidences, for any lengths. Steps of fewer than 4 would be slow; 32 indices are one cache line.
    width = 2 ** min(5, max(2, (total // len(rows)).bit_length() - 1))
    longest = STEPS * width
    pieces = (-(indptr.diff() // -longest)).clamp(min=1)  # rounded up; a sum with a length could pass 2^31
    ends = pieces.cumsum(0)
    num_chunks = int(ends[-1])
    owner = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), pieces, output_size=num_chunks)
    nth = torch.arange(num_chunks, device=rows.device) - (ends - pieces)[owner]
    begin = indptr[owner] + nth.to(indptr.dtype) * longest
    length = (indptr[owner + 1] - begin).clamp(max=longest).int()
    order = torch.argsort((length + width - 1) // width, descending=True, stable=True)
    begin, length, row = (a[order] for a in (begin, length, rows[owner]))
    if num_chunks == len(rows):
        return [Chunks(begin, length, row, None, 0, width)]
    parted = pieces > 1
    bounds = torch.nn.functional.pad(pieces[parted].cumsum(0), (1, 0)).to(indptr.dtype)
    part = parted[owner]
    slot = torch.where(part, part.cumsum(0) - 1, -1)[order].to(indptr.dtype)
    num_slots = num_chunks - len(rows) + len(bounds) - 1
    return [Chunks(begin, length, row, slot, num_slots, width), *_cut(bounds, rows[parted], num_slots)]


def _blocks(dim: int, width: int) -> dict[str, int]:
    """Choose block sizes and warps: 16 numbers per thread from 32 columns on, for float32 4 loads of 16 bytes.

    A block has whole rows of up to 128 columns, which a warp reads with one load of 16 bytes per thread. Wider rows
    take blocks of 128, or of 64 if the last block of 128 would be half empty. `width` incidences of a chunk fill one
    dimension of the tile and several chunks the rest, so that short rows share a program. With fewer lanes than threads
    Triton does not move the indices through shared memory at every step.
    """
    columns = triton.next_power_of_2(max(dim, 1)) if dim <= 128 else 64 if 0 < dim % 128 <= 64 else 128
    lanes = 32 if columns > 32 else 64
    return {"CHUNKS": lanes // width, "WIDTH": width, "DIM": columns, "num_warps": 8 if columns == 128 else 4}


def _rows_contiguous(x: Tensor) -> Tensor:
    """Return x itself if the entries of a row are adjacent, else a copy: it costs less than uncoalesced gathers."""
    return x if x.stride(1) == 1 else x.contiguous()


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
