"""Feature kinds: how the values of a column are meant, as dataset.toml states it or as a guess by content.

[items.fields]
genres = "tags"
price = { kind = "number", log = true }
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import polars as pl

from hyperctr import strict
from hyperctr.strict import did_you_mean, literal

Name = Literal["category", "number", "bucket", "tags", "hash", "vector", "text"]
OPTIONS: dict[str, tuple[str, ...]] = {
    "category": ("min_count",),
    "number": ("log", "embedding", "knots"),
    "bucket": ("boundaries", "quantiles"),
    "tags": ("separator", "min_count"),
    "hash": ("buckets",),
    "vector": (),
    "text": ("dim",),
}
"""Name of a kind -> its options."""
FEW = 32  # a column of more distinct numbers than this may be an amount
MOST = 100_000  # values that a guess looks at
SEPARATORS = ("|", ";", ",")


@dataclass(frozen=True)
class Kind:
    """How the values of one column are meant.

    Attributes:
        kind: "category": each value has a vector of its own. "number": near values have near vectors. "bucket": a
            number cut into levels. "tags": a list of values, or text with a separator. "hash": a category whose values
            share a given number of vectors. "vector": a list of numbers. "text": words, as TF-IDF and an SVD.
        min_count: of a category or of tags: a value of fewer training rows is rare. Rare categories share one vector,
            and rare tags are left out.
        log: of a number: it is sign(x) log(1 + |x|) that is scaled and embedded.
        embedding: of a number: linear between knots, or a sum of waves.
        knots: of a piecewise number: most knots, at quantiles of the training rows.
        boundaries: of a bucket, ascending; a value equal to a boundary is above it.
        quantiles: of a bucket without boundaries: number of levels of equal frequency in the training rows.
        separator: of tags given as text.
        buckets: of a hash.
        dim: of a text: most numbers per vector.
        of: of a context column: whether it belongs to the moment (hour, device, page), so that drawn negatives share
            it, or to the shown item. None: not stated; it is left out where training draws its negatives.

    >>> Kind.parse("price", {"kind": "number", "log": True})
    Kind(number, log=true)
    """

    kind: Name = "category"
    min_count: int = 1
    log: bool = False
    embedding: Literal["piecewise", "periodic"] = "piecewise"
    knots: int = 128
    boundaries: tuple[float, ...] = ()
    quantiles: int = 16
    separator: str = "|"
    buckets: int = 0
    dim: int = 64
    of: Literal["moment", "item"] | None = None

    @classmethod
    def parse(cls, name: str, value: Any, context: bool = False) -> Kind:
        """Read the kind of a column as dataset.toml states it: the name of a kind, or a table.

        Args:
            name: of the column, for an error.
            value: "number", or {"kind": "number", "log": True}.
            context: whether it is a column of the context, which may state `of`.

        Raises:
            ValueError: an unknown kind or option, or an option that is out of range.
        """
        given = {"kind": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or "kind" not in given:
            raise ValueError(f'{name} must be a kind such as "number" or {{ kind = "number" }}, got {literal(value)}')
        found = given["kind"]
        if found not in OPTIONS:
            near = did_you_mean(str(found), OPTIONS)
            raise ValueError(f"{name}: no kind {literal(found)}{near and ', ' + near}; kinds are {', '.join(OPTIONS)}")
        options = (*OPTIONS[found], *(("of",) if context else ()))
        for key in given:
            if key != "kind" and key not in options:
                near = did_you_mean(key, options)
                raise ValueError(
                    f"{name}: {found} has no option {key}{near and ', ' + near} "
                    f"(it has {', '.join(options) or 'none'}{'' if context or key != 'of' else '; of is for context'})"
                )
        made = cls(**strict.values(cls, given, name))
        for holds, key, works in (
            (made.min_count >= 1, "min_count", "at least 1"),
            (made.knots >= 2, "knots", "at least 2"),
            (list(made.boundaries) == sorted(set(made.boundaries)), "boundaries", "ascending numbers"),
            (made.quantiles >= 2, "quantiles", "at least 2"),
            (made.separator != "", "separator", "at least one character"),
            (made.kind != "hash" or made.buckets >= 1, "buckets", "stated for a hash, at least 1"),
            (made.dim >= 1, "dim", "at least 1"),
        ):
            strict.check(holds, f"{name}.{key}", getattr(made, key), works)
        return made

    def stated(self) -> str | dict[str, Any]:
        """Return what dataset.toml would say: the name of the kind, or a table where an option is not the default."""
        own = {f.name: getattr(self, f.name) for f in fields(self)[1:]}
        own = {key: list(x) if isinstance(x, tuple) else x for key, x in own.items() if x != getattr(Kind, key)}
        return {"kind": self.kind, **own} if own else self.kind

    def __str__(self) -> str:
        said = self.stated()
        options = {} if isinstance(said, str) else said
        return ", ".join([self.kind, *(f"{key}={literal(value)}" for key, value in options.items() if key != "kind")])

    def __repr__(self) -> str:
        return f"Kind({self})"


def parse_stated(text: str) -> tuple[str, str | dict[str, Any]]:
    """Read "COLUMN=KIND" of a command line, where KIND may be a table: 'price={kind="number", log=true}'.

    >>> parse_stated('price={kind="number", log=true}')
    ('price', {'kind': 'number', 'log': True})

    Raises:
        ValueError: no "=", or a table that is not TOML.
    """
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not (name and equals and value):
        raise ValueError(f"--kind takes COLUMN=KIND, such as genres=tags, got {text!r}")
    if not value.startswith("{"):
        return name, value.strip("\"'")
    try:
        return name, tomllib.loads(f"kind = {value}")["kind"]
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"--kind {text!r} is not TOML after the first '=': {error}") from None


def guess(column: pl.Series) -> Kind:
    """Guess the kind of a column by its content.

    Whole numbers, true/false and short text are categories, as a code looks like an amount. Numbers with fractions are
    numbers. Lists of fractions are vectors and other lists tags. Text is tags where a separator ("|", ";" or ",") cuts
    it into fewer distinct pieces, and text where most values are distinct and long.

    >>> guess(pl.Series(["a|b", "b|c", "c|a", "a"])), guess(pl.Series([0.5, 1.25]))
    (Kind(tags), Kind(number))
    """
    column = column.drop_nulls().head(MOST)
    if isinstance(column.dtype, pl.List | pl.Array):
        return _guess_list(column)
    if column.dtype.is_float():
        known = column.drop_nans()
        return Kind("category" if (known == known.round()).all() else "number")
    if column.dtype != pl.String:
        return Kind()
    column = column.filter(column != "")
    return _guess_text(column) if len(column) else Kind()


def _guess_list(column: pl.Series) -> Kind:
    lengths = column.list.len() if isinstance(column.dtype, pl.List) else pl.Series([column.dtype.size])
    same = lengths.drop_nulls().n_unique() == 1 and (lengths.max() or 0) > 1
    return Kind("vector" if same and column.dtype.inner.is_float() else "tags")


def _guess_text(values: pl.Series) -> Kind:
    distinct = values.unique()
    words = values.str.count_matches(r"\w+")
    if words.mean() >= 5 and len(distinct) > len(values) / 2:
        return Kind("text")
    for separator in SEPARATORS:
        cut = values.str.contains(separator, literal=True)
        if cut.mean() < 0.1:
            continue
        pieces = distinct.str.split(separator).explode().str.strip_chars()
        if pieces.n_unique() < len(distinct) or values.str.split(separator).list.len().mean() > 2:
            return Kind("tags", separator=separator)
    return Kind()


def likely(name: str, column: pl.Series) -> str:
    """Return a hint where a column of a plain list of names looks like another kind than a category, else ""."""
    kind = guess(column)
    return "" if kind.kind == "category" else f"{name} looks like {kind.kind}: {line(name, kind)}"


def line(name: str, kind: Kind) -> str:
    """Write the line of dataset.toml that states a kind.

    >>> line("price", Kind("number", log=True))
    'price = { kind = "number", log = true }'
    """
    said = kind.stated()
    if isinstance(said, str):
        return f"{name} = {literal(said)}"
    return f"{name} = {{ {', '.join(f'{key} = {literal(value)}' for key, value in said.items())} }}"


def guess_all(table: pl.DataFrame, columns: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Guess the kinds of some columns of a table.

    Returns:
        What dataset.toml would say of each column, by name; and the same as lines, which say where a column of whole
        numbers may be an amount.
    """
    kinds = {name: guess(table[name]) for name in columns}
    lines = []
    for name, kind in kinds.items():
        numbers = table[name].dtype.is_numeric() and kind.kind == "category" and table[name].n_unique() > FEW
        lines.append(line(name, kind) + (" (or number, if they are amounts)" if numbers else ""))
    return {name: kind.stated() for name, kind in kinds.items()}, lines


assert set(OPTIONS) == set(get_args(Name))
