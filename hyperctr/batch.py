"""The contract between data and models: `Tables` and `Batch` go in, `Output` comes out; and what a model declares.

Long because it is the whole contract, in one file to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

PAST_FIELDS = ("past.1", "past.2", "past.3", "past.4")  # the fields that all numbers of the past make together
LEVELS = 100  # levels of equal frequency that a number is cut into; level // 10 cuts it into ten


# --- what a model is built from -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ids:
    """Known users and items. An unknown one has the number `num_users` or `num_items`.

    Attributes:
        seen_user: True for users with a training row, [num_users]; the embeddings of the others are not trained.
        seen_item: True for items with a training row, [num_items].
    """

    num_users: int
    num_items: int
    seen_user: Tensor
    seen_item: Tensor


@dataclass(frozen=True)
class ItemModalities:
    """Features of the items, by the name of the modality.

    Attributes:
        features: float32 or float16, [num_items, d_m].
        present: True where the item has the modality, [num_items].
    """

    features: Mapping[str, Tensor] = field(default_factory=dict)
    present: Mapping[str, Tensor] = field(default_factory=dict)


class Movable:
    """A dataclass of tensors that is moved as a whole."""

    def to(self, device: torch.device | str) -> Self:
        """Return it on a device."""
        return self.each(lambda x: x.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return it with another tensor in the place of each."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        found = {name: change(x) for name, x in parts.items() if isinstance(x, Tensor)}
        found |= {name: x.each(change) for name, x in parts.items() if isinstance(x, Movable)}
        return replace(self, **found)


@dataclass(frozen=True)
class Values(Movable):
    """The values of some columns for n rows, one tensor per kind; a kind without a column is None or empty.

    Attributes:
        codes: of the categorical columns, int64 [n, K]; -1, or the column's size, where unknown.
        numbers: of the numeric columns, scaled, float32 [n, N]; NaN where missing.
        tags: of the columns of tags, [n, T, L], padded with -1; -1, or the column's size, where unknown.
        vectors: of the columns of vectors, float32 [n, d] each, zero where missing.

    >>> Values(codes=torch.tensor([[2, 0], [1, -1]]))[torch.tensor([1])].codes.tolist()
    [[1, -1]]
    """

    codes: Tensor | None = None
    numbers: Tensor | None = None
    tags: Tensor | None = None
    vectors: tuple[Tensor, ...] = ()

    def __getitem__(self, rows: Tensor | slice) -> Values:
        """Return the values of some rows."""
        one = [None if x is None else x[rows] for x in (self.codes, self.numbers, self.tags)]
        return Values(*one, tuple(x[rows] for x in self.vectors))

    def each(self, change: Callable[[Tensor], Tensor]) -> Values:
        """Return the values with another tensor in the place of each."""
        return replace(Movable.each(self, change), vectors=tuple(change(x) for x in self.vectors))


@dataclass(frozen=True)
class Columns:
    """The columns of users, of items, or of the context, by name within each kind.

    A model reads each column as one vector, see `hyperctr.layers.columns`. The order of the columns is that of `names`.

    Attributes:
        sizes: number of values of each categorical column.
        numbers: knots of each numeric column, ascending, float32 [E]; empty for a periodic embedding.
        tags: number of tags of each column of tags.
        vectors: width of each column of vectors.
        values: of each user or item and, last, of an unknown one, [num + 1, ...]; None for the context, whose values
            are in `Batch.context`.
        past: names of the numbers of the past, the last of `numbers`. Together they are the fields `PAST_FIELDS`; every
            other number is a field of its own.

    >>> columns = Columns({"age": 2}, values=Values(codes=torch.tensor([[1], [0], [2]])))
    >>> columns.names, columns.code("age").tolist()
    (('age',), [1, 0, 2])
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    vectors: Mapping[str, int] = field(default_factory=dict)
    values: Values | None = None
    past: tuple[str, ...] = ()

    @property
    def number_fields(self) -> tuple[str, ...]:
        """Names of the fields that the numbers make."""
        own = tuple(name for name in self.numbers if name not in self.past)
        return (*own, *PAST_FIELDS) if self.past else own

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all fields: categories, numbers, tags, vectors."""
        return (*self.sizes, *self.number_fields, *self.tags, *self.vectors)

    def __len__(self) -> int:
        return len(self.names)

    def code(self, name: str) -> Tensor:
        """Return the category of each user or item in a categorical column; `sizes[name]` where unknown."""
        code = self.values.codes[:, list(self.sizes).index(name)]
        return code.where(code >= 0, self.sizes[name])


@dataclass(frozen=True)
class Fields:
    """The columns of users, of items and of the context.

    Attributes:
        of_user: names of those context columns that say what the user has done so far.
    """

    user: Columns = field(default_factory=Columns)
    item: Columns = field(default_factory=Columns)
    context: Columns = field(default_factory=Columns)
    of_user: tuple[str, ...] = ()


@dataclass(frozen=True)
class Titles:
    """Numbers of the words of each item's title, int [num_items + 1, L]; `num_words` itself is padding."""

    words: Tensor
    num_words: int


@dataclass(frozen=True)
class Priors:
    """Means over the training rows.

    Attributes:
        click_rate: share of the rows that were clicked, drawn negatives not counted.
        item_log_odds: log odds of a click on each item minus those on an average item, smoothed, [num_items]; None:
            zero.
        clicks_per_user: mean number of clicks of the users that have a row.
    """

    click_rate: float = 0.5
    item_log_odds: Tensor | None = None
    clicks_per_user: float = 1.0


@dataclass(frozen=True)
class Clicks:
    """Properties of the clicks in the histories: how many behaviour types, and levels of age.

    Attributes:
        num_types: 0 where the log has no types.
        ages: edges between the levels, microseconds, [LEVELS - 1]; empty for models that read no statistics.
    """

    num_types: int = 0
    ages: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))


@dataclass(frozen=True)
class Statistics:
    """Statistics of the items at the start of each time slice, from the events strictly before that moment.

    Attributes:
        names: of the K statistics.
        edges: between the levels of each statistic, [K, LEVELS - 1].
        starts: start of each of the S slices, microseconds, [S].
        level: number of edges below the value, LEVELS without a history, uint8 [S + 1, num_items + 1, K]. Snapshot 0
            is before all slices. It and the last row, an unknown item, have no history.
    """

    names: tuple[str, ...]
    edges: Tensor
    starts: Tensor
    level: Tensor


class SlicedGraphs(Protocol):
    """The hypergraphs of every closed time slice, as `hyperctr.hypergraphs.recipes` builds them.

    Attributes:
        grid: which slice a time belongs to, a `graphs.TimeGrid`.
        names: of the hypergraphs of one slice: "group" and the modalities.
        users, items: for each slice the active nodes (`nodes`, [n]) and their hypergraphs (`graphs`, one per name);
            None where the slice is empty.
        own: whether a row reads the hypergraphs of its own slice too.
        typed: whether the incidences' values are behaviour types: 1 + the type, 0 for an incidence of many clicks.
        target_edge: where `own`, whether a row's own click is taken out before the row is scored.
    """

    grid: Any
    names: tuple[str, ...]
    users: tuple
    items: tuple
    own: bool
    typed: bool
    target_edge: Literal["exclude", "keep"]

    def __len__(self) -> int: ...

    def without(self, h: Any, nodes: Any, hyperedge_ids: Any) -> Any:
        """Return one of the hypergraphs without some incidences."""


class LearnedInterests(Protocol):
    """Interests learned before the model, whose vectors (`weights`, by parameter name) the model starts from."""

    weights: Mapping[str, Tensor]

    def slices(self, build: Callable[..., SlicedGraphs], interest: Any) -> SlicedGraphs:
        """Build the hypergraphs of the clicks that count for each modality."""


@runtime_checkable
class JointInterests(Protocol):
    """Interests that are learned together with the model, on its own vectors."""

    def slices(self, build: Callable[..., SlicedGraphs], interest: Any) -> SlicedGraphs:
        """Build the first hypergraphs, of all clicks."""

    def renewed(self, model: nn.Module) -> SlicedGraphs:
        """Build the hypergraphs again, under the weights that the model has now."""

    def loss(self, model: nn.Module, user: Tensor, item: Tensor) -> Tensor:
        """Return the loss of the interests on the clicks of a batch."""


@dataclass(frozen=True)
class Graphs:
    """The hypergraphs of every time slice, and the interests that decide which modalities a click counts for.

    Both are None for models that do not read slices; without interests a click counts for all modalities.
    """

    slices: SlicedGraphs | None = None
    interests: LearnedInterests | JointInterests | None = None


@dataclass(frozen=True)
class Tables:
    """What a model is built from: sizes, and tables to look up by user or item number.

    `titles` and `statistics` are None for models that do not read them, and where the data have no titles. `steps` is
    the number of training steps that are planned, 0 where it is not known.
    """

    ids: Ids
    modalities: ItemModalities = field(default_factory=ItemModalities)
    fields: Fields = field(default_factory=Fields)
    priors: Priors = field(default_factory=Priors)
    clicks: Clicks = field(default_factory=Clicks)
    titles: Titles | None = None
    statistics: Statistics | None = None
    graphs: Graphs = field(default_factory=Graphs)
    steps: int = 0


# --- what a model reads and answers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class History(Movable):
    """The last T clicks strictly before each of Q queries, oldest first.

    Attributes:
        item: [Q, T]. time: microseconds, [Q, T].
        mask: True for a click, False for padding, [Q, T]; clicks come first.
        type: behaviour types, [Q, T]; None where the log has none.
        length: all clicks strictly before each query, also those beyond T, [Q]; None: the clicks in `mask`.
        place: where the clicks are in the flattened mask, [n]; None where nobody has looked yet. A batch on a
            device has it, because to look there would make the host wait.
    """

    item: Tensor
    mask: Tensor
    time: Tensor
    type: Tensor | None = None
    length: Tensor | None = None
    place: Tensor | None = None

    def placed(self) -> History:
        """Return the histories with `place`."""
        return self if self.place is not None else replace(self, place=places(self.mask))


@dataclass(frozen=True)
class Step:
    """What one step of a training is for.

    Attributes:
        task: the one task that the step trains; None: every task of the model.
        closes_group: whether the batch is the last of those that share one propagation of the hypergraphs.
        is_augmented: whether the batch repeats the batch before it with an augmented input (AQCL). A model that keeps
            states from batch to batch reads them then, and changes none of them.
    """

    task: str | None = None
    closes_group: bool = True
    is_augmented: bool = False


@dataclass(frozen=True)
class Batch(Movable):
    """B rows to score: a user, a candidate item, a time, and the clicks of the user strictly before that time.

    Rows with the same user and time form a *query*, such as a click and the negatives drawn for it. Compute user-side
    tensors once per query, for the rows `query_row`, and gather them with `expand_to_rows`.

    Attributes:
        user: [B]. item: [B]. time: microseconds, [B].
        query: number of each row's query, [B], in [0, Q).
        query_row: one row of each query, [Q].
        histories: the clicks before each query, [Q, T].
        clicks_before: clicks on the candidate strictly before the row, by all users, float [B].
        shows_before: logged impressions of the candidate strictly before the row, float [B]; None where the log has no
            non-clicks.
        context: values of the context columns of `Tables.fields`: the log's own, then those derived from user and time.
            None where there are none, or where nothing is derived and the rows were drawn.
        label: 1 clicked, 0 not, float [B].
        conversion: what followed the click, in [0, 1], NaN where unknown, [B]; None where the log has none.
        step: what the batch is for in training; None in evaluation.
        layout: what the model has worked out about the batch on the host, see `HasLayout`; None: nothing yet.

    >>> from hyperctr import Batch
    >>> past = History(item=torch.tensor([[4, 2]]), mask=torch.tensor([[True, True]]), time=torch.tensor([[10, 20]]))
    >>> batch = Batch(
    ...     user=torch.tensor([0, 0]), item=torch.tensor([7, 3]), time=torch.tensor([30, 30]),
    ...     query=torch.tensor([0, 0]), query_row=torch.tensor([0]), histories=past,
    ...     clicks_before=torch.zeros(2), shows_before=None, context=None, label=torch.tensor([1.0, 0.0]),
    ... )
    >>> len(batch), batch.expand_to_rows(past.mask.sum(1)).tolist()
    (2, [2, 2])
    """

    user: Tensor
    item: Tensor
    time: Tensor
    query: Tensor
    query_row: Tensor
    histories: History
    clicks_before: Tensor
    shows_before: Tensor | None
    context: Values | None
    label: Tensor
    conversion: Tensor | None = None
    step: Step | None = None
    layout: Movable | None = None

    def __len__(self) -> int:
        return len(self.user)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device; on another one than the CPU with the places of the clicks."""
        look = self.item.is_cpu and torch.device(device).type != "cpu"
        return Movable.to(replace(self, histories=self.histories.placed()) if look else self, device)

    @property
    def task(self) -> str | None:
        """The one task that this batch trains; None: every task."""
        return self.step.task if self.step else None

    @property
    def closes_group(self) -> bool:
        """Whether no later batch shares the propagation that this batch reads."""
        return self.step is None or self.step.closes_group

    @property
    def is_augmented(self) -> bool:
        """Whether the batch repeats the batch before it with an augmented input."""
        return self.step is not None and self.step.is_augmented

    def expand_to_rows(self, x: Tensor) -> Tensor:
        """Gather values of the queries for each row, [Q, ...] -> [B, ...]."""
        return expand_to_rows(x, self.query)


@dataclass(frozen=True)
class Output:
    """A model's answer.

    Attributes:
        logit: of the click, no sigmoid, [B].
        penalty: a term to add to the loss.
        logs: numbers to log.
        hidden: last hidden vectors, before the final linear layer, [B, hidden_dim]; None without such a layer.
        conversion: logit of the conversion in [0, 1], given the click, [B]; None for a model of clicks only.
        loss: the loss to train on, if it is not the cross entropy of `logit`; `penalty` is added to it as well.

    >>> from hyperctr import Output
    >>> Output(logit=torch.zeros(3), penalty=0.1).penalty
    0.1
    """

    logit: Tensor
    penalty: Tensor | float = 0.0
    logs: Mapping[str, float] = field(default_factory=dict)
    hidden: Tensor | None = None
    conversion: Tensor | None = None
    loss: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """What the last layers of a model read.

    Attributes:
        x: [B, n].
        penalty, logs: as in `Output`.
    """

    x: Tensor
    penalty: Tensor | float = 0.0
    logs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingPlan:
    """Which batches a training takes, and what it is judged by.

    Attributes:
        tasks: what is trained, of "click" and "conversion"; the score of these tasks decides when training stops.
        order: "joint": every batch trains all tasks. "alternate": one batch of clicks, one of conversions, until both
            are used up. "cycle": the same, but conversions start over until the clicks are used up.
        batches_per_graph: successive batches of one time slice that share one propagation of the hypergraphs.
        typed_hypergraphs: whether the incidences of the hypergraphs have the behaviour types of a log with types.
        statistics: whether this config reads statistics of the items, where `Model.reads` does not say so for all.
    """

    tasks: tuple[str, ...] = ("click",)
    order: Literal["joint", "alternate", "cycle"] = "joint"
    batches_per_graph: int = 1
    typed_hypergraphs: bool = False
    statistics: bool = False


# --- what a model and a wrapper are ---------------------------------------------------------------------------------

READS = {
    "slices": "the hypergraphs of the time slices; the batches of a training then stay within one slice",
    "statistics": "statistics of the items per time slice; the batches of a training then stay within one slice",
    "titles": "words of the items' titles",
    "conversions": "what followed a click; the data must have it",
    "counts": "counts of the past in the context of a row, also without data.past",
    "content": "how alike a row's item is to its user's clicks, also without data.past",
    "links": "links of the past in the context of a row, also without data.past",
}
"""What a model can ask for in `Model.reads`. Everything else in `Tables` and `Batch` is there for every model."""


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's weights; the CPU for a model without any."""
    return next((x.device for x in chain(model.parameters(), model.buffers())), torch.device("cpu"))


class Model(Protocol):
    """What `fit` trains. `Model(config, tables)` builds it; called on a Batch it answers an Output.

    A model is a `torch.nn.Module`. In evaluation its logits must not depend on `Batch.label`,
    `Batch.conversion` or `Batch.step`.

    Attributes:
        Config: a frozen dataclass; each field is a key of `[model]`. A mapping `retired` may name keys of old run
            files: key -> (its old default, why it went).
        reads: names of `READS`; asked of the class before the tables are made.
        tasks: ("click",), or ("click", "conversion") for a model whose `Output.conversion` is filled.

    >>> from hyperctr import Model, Output
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     bias: float = 0.0
    >>> class Constant(nn.Module):
    ...     Config, reads, tasks = Config, frozenset(), ("click",)
    ...     def __init__(self, config: Config, tables: Tables):
    ...         super().__init__()
    ...         self.bias = nn.Parameter(torch.tensor(config.bias))
    ...     def forward(self, batch: Batch) -> Output:
    ...         return Output(self.bias.expand(len(batch)))
    >>> model: Model = Constant(Config(bias=-2.0), tables=None)
    """

    Config: type
    reads: frozenset[str]
    tasks: tuple[str, ...]

    def __call__(self, batch: Batch) -> Output: ...


@dataclass(frozen=True)
class TrainingCounts:
    """How large the training rows are, known before anything is fitted.

    Attributes:
        rows: training rows, drawn negatives not counted.
        clicks: clicks among them.
        clicked_items: distinct items among the clicks.
        pairs: pairs of clicks of one user, the sum over users of their clicks squared.
    """

    rows: int
    clicks: int
    clicked_items: int
    pairs: int


@runtime_checkable
class Referee(Protocol):
    """A model that is fitted once, in closed form or by a library, and takes no gradient steps.

    A referee is a `torch.nn.Module` and a `Model`: it has `Config`, `reads` and `tasks`, and called on a batch it
    answers an Output of `score`. Its `state_dict` has the settings that validation rows chose and nothing that is as
    large as the data. A run keeps these, and fits the referee again on its training rows when it is opened. A fitted
    referee reads nothing but the batch, so that the features of a row, such as the context, come with the rows.
    """

    def fit(
        self, train: Callable[[], Iterable[Batch]], valid: Callable[[], Iterable[Batch]] | None = None
    ) -> Mapping[str, Any]:
        """Fit on the training rows.

        Args:
            train: gives the batches of the training rows, each row once, with drawn negatives as a model reads them.
            valid: gives the batches of the validation rows, on which settings are chosen. None: the settings are those
                of the `state_dict`, and the same training rows give the same fit.

        Returns:
            What was chosen, for the report; {} without `valid`.
        """

    def score(self, rows: Batch) -> Tensor:
        """Return the logits of a click, float32 [B]."""

    @classmethod
    def memory(cls, config: Any, counts: TrainingCounts) -> int:
        """Return the bytes that fitting takes."""


class Wrapper(Protocol):
    """What surrounds a model while it trains: `Wrapper(model, config, tables)` is such a model again.

    In evaluation it returns the output of the model, and a run keeps the weights of the model only; unless it `stays`.

    Attributes:
        Config: a frozen dataclass; each field is a key of `[wrapper]`.
        reads: what the wrapper reads beyond the model.
        tasks: of the model, or its own.
        stays: whether it is part of the finished model, as the masks of LT4REC are.
    """

    Config: type
    reads: frozenset[str]
    tasks: tuple[str, ...]
    stays: bool

    def __call__(self, batch: Batch) -> Output: ...


@runtime_checkable
class HasHidden(Protocol):
    """A model that fills `Output.hidden`, [B, hidden_dim]: what contrastive wrappers act on."""

    hidden_dim: int


@runtime_checkable
class HasTower(Protocol):
    """A model whose last layers can be taken away, to be shared by two tasks through masks (LT4REC)."""

    def features(self, batch: Batch) -> Features:
        """Return what the last layers read."""

    def take_tower(self) -> nn.Sequential:
        """Give up the last layers but the final linear one; the model alone answers no more."""


@runtime_checkable
class HasLayout(Protocol):
    """A model that works out things about a batch from its integers alone, before it reads a weight."""

    def layout(self, batch: Batch) -> Movable:
        """Return them, for a batch on the host; on a GPU to work them out makes the host wait."""


def completer(model: nn.Module) -> Callable[[Batch], Batch]:
    """Return the function that works out, on the host, what a model on another device wants to know of a batch."""
    asked = next((module for module in model.modules() if isinstance(module, HasLayout)), None)

    def complete(batch: Batch) -> Batch:
        layout = None if asked is None else asked.layout(batch)
        return replace(batch, histories=batch.histories.placed(), layout=layout)

    return complete


def mover(model: nn.Module) -> Callable[[Batch], Batch]:
    """Return the function that brings a batch to a model's device, with the model's layout where it has one."""
    device, complete = device_of(model), completer(model)
    return (lambda batch: batch) if device.type == "cpu" else (lambda batch: complete(batch).to(device))


Moved = Callable[[Iterable[Batch], nn.Module], Iterator[tuple[Batch, Batch]]]
"""Yields each batch as it was made on the host, and on the device of a model; in their order."""


def moved_in_turn(batches: Iterable[Batch], model: nn.Module) -> Iterator[tuple[Batch, Batch]]:
    """Bring batches to a model's device one after another, see `Moved`."""
    move = mover(model)
    return ((batch, move(batch)) for batch in batches)


@runtime_checkable
class HasPlan(Protocol):
    """A class of models or wrappers whose training differs from the usual one."""

    @classmethod
    def plan(cls, config: Any, plan: TrainingPlan) -> TrainingPlan:
        """Return the plan with the changes that the config asks for."""


def plan_of(
    model: type[Model], config: Any, wrapper: type[Wrapper] | None = None, settings: Any = None
) -> TrainingPlan:
    """Return how a model is trained, inside a wrapper with its settings where there is one."""
    plan = TrainingPlan(model.tasks)
    for kind, values in ((model, config), (wrapper, settings)):
        plan = kind.plan(values, plan) if isinstance(kind, HasPlan) else plan
    return plan


def places(mask: Tensor) -> Tensor:
    """Return where a mask [Q, T] is True, in the flattened mask: [n].

    >>> places(torch.tensor([[True, False], [True, True]])).tolist()
    [0, 2, 3]
    """
    return mask.flatten().nonzero().squeeze(1)


def expand_to_rows(x: Tensor, query: Tensor) -> Tensor:
    """Return x[query], [Q, ...] and [B] -> [B, ...]; on a CPU x itself where every row is its own query."""
    same = query.is_cpu and len(query) == len(x) and torch.equal(query, torch.arange(len(x)))
    return x if same else x.index_select(0, query)
