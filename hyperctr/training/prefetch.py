"""Make batches in a thread, and copy them to the GPU, while it works on the batches before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, completer, device_of, moved_in_turn


def prefetched(batches: Iterable[Batch], model: nn.Module) -> Iterator[tuple[Batch, Batch]]:
    """Yield each batch as it was made on the host, and on the device of a model; in their order.

    For a CUDA device a thread makes one batch ahead, works out what the model wants to know of it, and puts it into
    pinned memory. A stream of its own copies it, so that neither the host nor the device waits for a copy. On other
    devices batches are made one after another: on a CPU the thread would take a core from the model.
    """
    device = device_of(model)
    if device.type != "cuda":
        yield from moved_in_turn(batches, model)
        return
    source, complete, stream = iter(batches), completer(model), torch.cuda.Stream(device)

    def make() -> Batch | None:
        batch = next(source, None)
        return None if batch is None else complete(batch).each(Tensor.pin_memory)

    with ThreadPoolExecutor(1, "batches") as thread:
        coming = thread.submit(make)
        while (batch := coming.result()) is not None:
            coming = thread.submit(make)
            yield batch, _copied(batch, device, stream)


def _copied(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Batch:
    """Copy a batch from pinned memory in a stream; the stream of the model waits for it before it goes on."""
    with torch.cuda.stream(stream):
        there = batch.each(lambda x: x.to(device, non_blocking=True))
    reader = torch.cuda.current_stream(device)
    reader.wait_stream(stream)

    def used(x: Tensor) -> Tensor:  # its memory is not given away before the model has read it
        x.record_stream(reader)
        return x

    return there.each(used)
