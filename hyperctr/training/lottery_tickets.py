"""LT4REC's lottery tickets (arXiv 2008.09872, Algorithm 1): train, prune, rewind and repeat, a loop around `fit`.

RUN/tickets/                exists during the search
    found.safetensors       all masks so far and their scores, written after every round; a killed search resumes here
    click-2/                checkpoint of the current round
RUN/tickets.safetensors     the tickets: masks of all rounds, one bit per weight, and the first weights of the search
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hyperctr.batch import Batch
from hyperctr.config import Train
from hyperctr.files import load_tensors, save_tensors
from hyperctr.layers.multitask import TASKS
from hyperctr.models.lt4rec import Masks, SparseSharing
from hyperctr.training.fit import fit

OTHER_WEIGHTS = 1 << 20
"""Added to the seed of a run for first weights that differ from those of its tickets."""


@dataclass(frozen=True)
class Ticket:
    """The masks of all rounds of one task, and their scores.

    Attributes:
        masks: m[0], which keeps everything, to m[n].
        scores: v[i], the validation score after training with m[i]; higher is better.
    """

    masks: tuple[Masks, ...]
    scores: tuple[float, ...] = ()

    @property
    def best(self) -> int:
        """The round of the best mask, except round 0: a ticket has to be pruned (section 3.2)."""
        return max(range(1, len(self.scores)), key=lambda i: self.scores[i])

    def mask(self, round: int = 0) -> Masks:
        """Return the masks of a round, one per layer; 0 stands for the best round."""
        return self.masks[round or self.best]

    def describe(self) -> dict:
        """Return round, density and score of every mask, and the best round; ready for JSON."""
        rounds = [{"round": i, "density": self.density(i), "score": v} for i, v in enumerate(self.scores)]
        return {"best": self.best, "rounds": rounds}

    def density(self, i: int) -> float:
        """Return the share of the weights of m[0] that m[i] keeps."""
        left, first = (sum(int(mask.sum()) for mask in self.masks[k]) for k in (i, 0))
        return left / first


def find_tickets(
    model: SparseSharing,
    train: Callable[[str, int], Iterable[Batch]],
    valid: Callable[[str], float],
    config: Train,
    folder: Path | None = None,
    log: Callable[[dict], None] = lambda row: None,
    given: Mapping[str, Ticket] | None = None,
    clock: Callable[[str], AbstractContextManager] = nullcontext,
) -> dict[str, Ticket]:
    """Find the ticket of each task; at the end the model has its first weights and the masks of the tickets.

    Algorithm 1, lines 1 to 11: n + 1 trainings per task, each from the same first weights with a new optimiser.

    Args:
        model: a model with its first weights.
        train: (task, number of the epoch) -> the batches of that epoch, each for that task.
        valid: task -> score of the model on the validation rows; higher is better.
        config: how to train; `model.config.round_epochs` is the number of epochs.
        folder: where masks and scores are kept; a search that was interrupted resumes there, to the same tickets.
        log: called as by `fit`, with task, round and density added.
        given: masks to train and score, in place of the masks that pruning would give.
        clock: as in `fit`.

    Raises:
        ValueError: `given` has another number of rounds than the model's settings.
    """
    c, start = model.config, _cloned(model)
    if given and any(len(ticket.masks) != c.rounds + 1 for ticket in given.values()):
        raise ValueError(f"{c.table}.rounds = {c.rounds}, but the tickets have {len(given[TASKS[0]].masks) - 1} rounds")
    path = folder and folder / "tickets.safetensors"
    if path and path.exists():
        tickets = load(path, model)
    else:
        tickets = _search(model, start, train, valid, config, folder and folder / "tickets", log, given, clock)
        if path:
            save(path, tickets, model, start)
            shutil.rmtree(folder / "tickets", ignore_errors=True)
    assert all(len(ticket.scores) == c.rounds + 1 for ticket in tickets.values())
    model.load_state_dict(start)
    _set_masks(model, tickets)
    return tickets


def _search(model, start, train, valid, config, folder, log, given, clock) -> dict[str, Ticket]:
    """Train and prune round by round, and write the masks after each; `start` is the state to rewind to."""
    c, path, tickets = model.config, folder and folder / "found.safetensors", {}
    if path and path.exists():
        tickets = load(path, model)
    for task in TASKS:
        ticket = tickets.get(task, Ticket((model.first_masks(task),)))
        while (i := len(ticket.scores)) <= c.rounds:
            model.load_state_dict(start)  # rewind: embeddings, biases and heads too
            model.tower.set_masks(dict.fromkeys(TASKS, ticket.masks[i]))
            here, density = folder and folder / f"{task}-{i}", ticket.density(i)

            def say(row: dict, task=task, i=i, density=density) -> None:
                log(row | {"task": task, "round": i, "density": density})

            done = fit(
                model,
                lambda epoch, task=task: train(task, epoch),
                lambda task=task: valid(task),
                replace(config, epochs=c.round_epochs, patience=c.round_epochs),
                folder=here,
                log=say,
                clock=clock,
            )
            masks = ticket.masks
            if i < c.rounds:
                share = c.keep ** ((i + 1) / c.rounds)
                masks = (*masks, given[task].masks[i + 1] if given else model.prune(task, masks[i], share))
            ticket = tickets[task] = Ticket(masks, (*ticket.scores, done.best_score))
            if path:
                save(path, tickets, model, start)
                shutil.rmtree(here, ignore_errors=True)
    return tickets


def use_masks(model: SparseSharing, path: Path, seed: int = 0) -> dict[str, Ticket]:
    """Give a model the tickets of another run, and the first weights from which they were found.

    Args:
        model: its config chooses the round of the masks, and whether masks of the same size are drawn at random.
        path: the folder of that run, or its tickets.safetensors.
        seed: of the random masks.

    Raises:
        ValueError: there are no tickets, or they are for layers of other widths.
    """
    path = path / "tickets.safetensors" if path.is_dir() else path
    tickets, (stored, _) = load(path, model), load_tensors(path)
    for n, layer in enumerate(model.tower.layers):
        layer.set_weight(stored[f"start.{n}"], layer.owners)
    if model.config.shuffle:
        tickets = {task: shuffled(ticket, len(TASKS) * seed + TASKS.index(task)) for task, ticket in tickets.items()}
    _set_masks(model, tickets)
    return tickets


def _set_masks(model: SparseSharing, tickets: Mapping[str, Ticket]) -> None:
    rounds, wanted = min(len(ticket.masks) for ticket in tickets.values()) - 1, model.config.round
    if rounds < wanted:
        raise ValueError(f"{model.config.table}.round = {wanted}, but the tickets have {rounds} rounds")
    model.tower.set_masks({task: tickets[task].mask(wanted) for task in TASKS})


def restart(model: SparseSharing, other: SparseSharing) -> None:
    """Copy the weights and embeddings of another model; the masks of each task stay."""
    masks = {name: x for name, x in model.state_dict().items() if name.endswith(".worn")}
    model.load_state_dict(other.state_dict() | masks)


def shuffled(ticket: Ticket, seed: int) -> Ticket:
    """Draw masks at random that keep as many weights per layer as a ticket does; a baseline for the ticket."""
    rng = torch.Generator().manual_seed(seed)

    def draw(mask: Tensor, first: Tensor) -> Tensor:
        among = first.flatten().nonzero()[:, 0]
        chosen = among[torch.randperm(len(among), generator=rng)[: int(mask.sum())]]
        return torch.zeros(mask.numel(), dtype=torch.bool).index_fill(0, chosen, True).view(mask.shape)

    masks = [[draw(mask, first) for mask, first in zip(m, ticket.masks[0], strict=True)] for m in ticket.masks]
    return replace(ticket, masks=tuple(masks))


def alternate_batches(*streams: Iterable[Batch]) -> Iterator[Batch]:
    """Yield one batch of each stream in turn, until all streams have ended."""
    left = deque(iter(stream) for stream in streams)
    while left:
        stream = left.popleft()
        for batch in stream:
            yield batch
            left.append(stream)
            break


def cycle_batches(first: Iterable[Batch], again: Callable[[int], Iterable[Batch]]) -> Iterator[Batch]:
    """Yield batches of `first` and of `again(0)`, `again(1)`, ... in turn, until `first` ends."""
    other = (batch for time in count() for batch in again(time))
    for batch in first:
        yield batch
        yield next(other)


def save(path: Path, tickets: dict[str, Ticket], model: SparseSharing, start: dict[str, Tensor] | None = None) -> None:
    """Write tickets, one bit per weight, and the first weights of the layers (`start`, or the current state)."""
    start = _cloned(model) if start is None else start
    tensors = {f"start.{n}": start[f"tower.steps.{at}.weight"] for n, at in enumerate(_places(model))}
    for task, ticket in tickets.items():
        for i, masks in enumerate(ticket.masks):
            tensors |= {f"{task}.{i}.{n}": packed(mask) for n, mask in enumerate(masks)}
    scores = {task: ticket.scores for task, ticket in tickets.items()}
    save_tensors(path, tensors, {"scores": json.dumps(scores)})


def load(path: Path, model: SparseSharing) -> dict[str, Ticket]:
    """Read tickets for the layers of a model.

    Raises:
        ValueError: there are no tickets, or they are for layers of other widths.
    """
    if not path.exists():
        raise ValueError(f"there are no tickets in {path}: give the folder of a finished run of lt4rec")
    tensors, texts = load_tensors(path)
    shapes = [layer.owners.shape for layer in model.tower.layers]
    stored = [tensors[f"start.{n}"].shape for n in range(sum(name.startswith("start.") for name in tensors))]
    if stored != shapes:
        ours, theirs = (", ".join("x".join(map(str, shape)) for shape in each) for each in (shapes, stored))
        raise ValueError(f"the tickets in {path} are for layers of {theirs} weights, the model has {ours}")
    tickets = {}
    for task, values in json.loads(texts["scores"]).items():
        rounds = sum(name.startswith(f"{task}.") and name.endswith(".0") for name in tensors)
        masks = tuple(
            [unpacked(tensors[f"{task}.{i}.{n}"], shape) for n, shape in enumerate(shapes)] for i in range(rounds)
        )
        tickets[task] = Ticket(masks, tuple(values))
    return tickets


def packed(mask: Tensor) -> Tensor:
    """Pack a mask of any shape, eight weights per byte: uint8 [ceil(n / 8)]."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def unpacked(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Unpack a mask of a given shape."""
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=int(np.prod(shape)))).bool().view(*shape)


def _places(model: SparseSharing) -> list[int]:
    """Return which steps of the tower are masked layers."""
    steps = list(model.tower.steps)
    return [next(k for k, step in enumerate(steps) if step is layer) for layer in model.tower.layers]


def _cloned(model: SparseSharing) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in model.state_dict().items()}
