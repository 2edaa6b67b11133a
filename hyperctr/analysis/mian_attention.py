"""What MIAN attends to, by name: clicks, the user's fields, the context, and the parts of its global attention.

`Reading.draw` is Figure 6 of the paper (arXiv 2012.06968). A weight is a share of attention and no effect: tanh bounds
it (`mian.bounds`), it has no sign, and with `weights="shared"` the order of the keys is the same whoever the candidate
is. So beside each weight stands its effect: the logit as it is minus the logit without. `Reading.faithfulness` is the
rank correlation of the two; where it is low, the picture of the weights says little about the prediction.

What "without" is:
- a part: out of Eq. (15), the weights of the others growing to 1;
- a click: no click; the others keep their index;
- a field of the user or the context: unknown, wherever it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hyperctr.batch import Batch
from hyperctr.data.context import DAY
from hyperctr.data.interactions import day
from hyperctr.models.mian import MIAN, Groups, bounds, latest
from hyperctr.runs.open import Opened, request

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GROUPS = {"parts": "parts of the global attention", "clicks": "clicks, the latest first", "user": "fields of the user",
          "context": "context"}  # fmt: skip
WORDS = {"e_i": "candidate", "e_c": "context", "e_b": "clicks", "e_u": "user", "R_ibim": "candidate and clicks",
         "R_iuim": "candidate and user", "R_icim": "candidate and context"}  # fmt: skip
NOTE = "a weight is a share of the attention of its group, bounded by tanh, and no effect"
LEAST = 3  # things that a rank correlation is taken over


@dataclass(frozen=True)
class Reading:
    """The attention of some cases.

    Attributes:
        frame: one line a case and thing: case, user, item, probability, group (see `GROUPS`), place (from 1 on; of
            clicks, from the latest), name, value (a field's number, "unknown", or the day of a click), days (the age of
            a click, null without times), weight, effect.
        parts: of the global attention; empty for a model without.
    """

    frame: pl.DataFrame
    parts: tuple[str, ...]

    def heat(self) -> np.ndarray:
        """The weights of the parts, [parts, cases].

        Raises:
            ValueError: the model has no global attention.
        """
        if not self.parts:
            raise ValueError("a heat map is of the global attention, this model has model.gim=false")
        return self.frame.filter(group="parts")["weight"].to_numpy().reshape(-1, len(self.parts)).T

    def faithfulness(self) -> pl.DataFrame:
        """How far the weights order things as their effects do: group, cases, correlation.

        Spearman's, of the weight and the size of the effect, within a case and group, the mean over cases: 1 the same
        order, 0 none. Cases with fewer than three things, or the same effect of all, do not count; NaN where none does.
        """
        import polars as pl
        from scipy.stats import spearmanr

        found: dict[str, list[float]] = {name: [] for name in GROUPS if name in self.frame["group"]}
        for (_, group), things in self.frame.group_by("case", "group", maintain_order=True):
            weight, effect = things["weight"].to_numpy(), things["effect"].abs().to_numpy()
            if len(things) >= LEAST and np.ptp(weight) > 0 and np.ptp(effect) > 0:
                found[group].append(float(spearmanr(weight, effect).statistic))
        means = [float(np.mean(values)) if values else np.nan for values in found.values()]
        return pl.DataFrame(
            {"group": list(found), "cases": [len(values) for values in found.values()], "correlation": means}
        )

    def mean(self, by: Sequence | None = None) -> pl.DataFrame:
        """Mean weight and mean size of the effect of each thing: group, place, name, cases, weight, effect.

        Args:
            by: a word or number for each case, such as the category of its item, its season, how active its user is: a
                column in front.

        Raises:
            ValueError: not as many as there are cases.
        """
        import polars as pl

        frame, keys = self.frame, ["group", "place"]
        if by is not None:
            cases = frame["case"].n_unique()
            if len(by) != cases:
                raise ValueError(f"by must say something of each of {cases} cases, got {len(by)}")
            frame, keys = frame.with_columns(by=pl.Series(by).gather(frame["case"])), ["by", *keys]
        clicks = pl.when(group="clicks").then(pl.format("click {}", "place")).otherwise("name")
        order = pl.col("group").replace_strict({name: n for n, name in enumerate(GROUPS)})
        means = [pl.len().alias("cases"), pl.col("weight").mean(), pl.col("effect").abs().mean()]
        found = frame.with_columns(name=clicks).group_by(*keys, "name").agg(means)
        return found.sort(*keys[:-2], order, "place").select(*keys, "name", "cases", "weight", "effect")

    def draw(self) -> Figure:
        """Figure 6: the weight of each part in each case; the colours end where tanh ends, and white is one of L.

        Raises:
            ValueError: the model has no global attention.
        """
        from hyperctr.reporting.figures import titles

        heat, about = self.heat(), self.frame.group_by("case", maintain_order=True).first()
        figure, axes = draw_heat(self.parts, heat, about["probability"].to_list())
        own = [part.startswith("R_") for part in self.parts]
        said = f"interactions get {heat[own].sum(0).mean():.2f} of it in the mean, {sum(own)} of {len(own)} parts"
        titles(axes, "Global attention", said + "; the colours end where tanh ends")
        return figure

    def draw_case(self, case: int = 0, most: int = 10) -> Figure:
        """Bars of a case's weights, and beside them of the effects; the latest clicks, at most so many."""
        import polars as pl

        return _draw_case(self.frame.filter(pl.col("case") == case), most)


def cases(opened: Opened, count: int = 14, seed: int = 0) -> Batch:
    """Test rows drawn by the seed, as many as Figure 6 has."""
    rows = opened.prepared.split.test
    chosen = np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False)
    return opened.prepared.loader.batch(np.sort(chosen))


def case(
    opened: Opened, user: Any, item: Any, at: int | None = None, context: Mapping[str, int] | None = None
) -> Batch:
    """One prediction, by the data set's own ids, also as text; see `serving.factored.request`.

    Raises:
        ValueError: the data has no such user or item, or the model reads no such context.
    """
    data, found = opened.prepared.dataset, []
    for what, ids, wanted in (("user", data.users.ids, user), ("item", data.items.ids, item)):
        number = np.flatnonzero(np.asarray(ids).astype(str) == str(wanted))
        if not len(number):
            raise ValueError(f"the data has no {what} {str(wanted)!r}")
        found.append(int(number[0]))
    return request(opened.prepared, found[0], found[1:], at, context)


@torch.no_grad()
def read(opened: Opened, batch: Batch) -> Reading:
    """Read the attention of every row of a batch, and leave out each thing that it attends to, one at a time.

    Raises:
        ValueError: the run's model is not MIAN.
    """
    model = opened.model
    if not isinstance(model, MIAN):
        raise ValueError(f"attention is read of MIAN, this run's model is {opened.prepared.run.model_name}")
    model.eval()
    groups = model.groups(batch)
    parts, weights = model.interact(groups)
    hidden, of_parts = model.join(parts)
    logit = model.out(hidden).squeeze(1)
    without = {"clicks": _without_clicks, "user": _without_field, "context": _without_field}
    effects = {
        name: logit[:, None] - _logits(model, *without[name](groups, name), weight.shape)
        for name, weight in weights.items()
    }
    if of_parts is not None:
        weights = {"parts": of_parts} | weights
        effects["parts"] = logit[:, None] - _without_parts(model, parts)
    return Reading(_frame(opened, batch, logit.sigmoid(), weights, effects), model.parts if model.gim else ())


def _rows(groups: Groups, row: Tensor) -> Groups:
    """Rows of a batch, each a query of its own."""
    query, own = groups.query[row], torch.arange(len(row), device=row.device)
    return Groups(
        groups.item[row], groups.clicks[query], groups.mask[query], own, groups.user[row], groups.context[row]
    )


def _without_clicks(groups: Groups, name: str) -> tuple[Tensor, Tensor, Groups]:
    """Row and place of each click of each row, and the rows without it."""
    row, place = groups.mask[groups.query].nonzero(as_tuple=True)
    made = _rows(groups, row)
    made.clicks[made.query, place], made.mask[made.query, place] = 0.0, False
    return row, place, made


def _without_field(groups: Groups, name: str) -> tuple[Tensor, Tensor, Groups]:
    """Row and place of each field of a group, and the rows in which it is unknown."""
    fields = getattr(groups, name)
    row, place = torch.ones(fields.shape[:2], device=fields.device).nonzero(as_tuple=True)
    changed = fields[row]
    changed[torch.arange(len(row), device=row.device), place] = 0.0
    return row, place, replace(_rows(groups, row), **{name: changed})


def _without_parts(model: MIAN, parts: list[Tensor]) -> Tensor:
    """Logits without each part, [B, L]."""
    q, score = model.gim.score(parts)
    found = []
    for part in range(len(parts)):
        weight = score.index_fill(1, torch.tensor([part], device=score.device), -torch.inf).softmax(1)
        found.append(model.out(model.top((weight[..., None] * q).sum(1))))
    return torch.cat(found, 1)


def _logits(model: MIAN, row: Tensor, place: Tensor, made: Groups, shape: torch.Size) -> Tensor:
    """The logits of the changed rows where they belong, of this shape; NaN where there was nothing to change."""
    hidden, _ = model.join(model.interact(made)[0])
    found = torch.full(shape, torch.nan, device=hidden.device)
    found[row, place] = model.out(hidden).squeeze(1)
    return found


def _frame(
    opened: Opened, batch: Batch, probability: Tensor, weights: Mapping[str, Tensor], effects: Mapping[str, Tensor]
) -> pl.DataFrame:
    import polars as pl

    past, data, lines = latest(batch.histories, opened.model.config.history), opened.prepared.dataset, []
    item, when = past.item[batch.query], past.time[batch.query]
    real = past.mask[batch.query]
    for b in range(len(batch)):
        user, at = int(batch.user[b]), int(batch.time[b])
        about = b, _named("user", data.users.ids, user), _item(data, int(batch.item[b])), float(probability[b])
        for group, weight in weights.items():
            for k in range(weight.shape[1]):
                days = None
                if group == "clicks":
                    if not real[b, k]:
                        continue
                    name, value = _item(data, int(item[b, k])), ""
                    if data.interactions.has_time:
                        value, days = day(int(when[b, k])), (at - int(when[b, k])) / DAY
                elif group == "parts":
                    name, value = opened.model.parts[k], ""
                else:
                    name, value = _field(opened, batch, b, group, k)
                number = float(weight[b, k]), float(effects[group][b, k])
                lines.append((*about, group, k + 1, name, value, days, *number))
    schema = {
        "case": pl.Int64, "user": pl.String, "item": pl.String, "probability": pl.Float64, "group": pl.String,
        "place": pl.Int64, "name": pl.String, "value": pl.String, "days": pl.Float64, "weight": pl.Float64,
        "effect": pl.Float64,
    }  # fmt: skip
    return pl.DataFrame(lines, schema, orient="row")


def _field(opened: Opened, batch: Batch, row: int, group: str, place: int) -> tuple[str, str]:
    """Name and value of a field of the user or the context."""
    model, tables = opened.model, opened.prepared.tables
    name = (model.user_fields if group == "user" else model.context_fields)[place]
    user = int(batch.user[row])
    if group == "user" and place == 0:
        known = user < tables.num_users and bool(tables.seen_user[user])
        return name, str(opened.prepared.dataset.users.ids[user]) if known else "unknown"
    if group == "user" and place <= len(tables.user_sizes):
        number = int(tables.user_fields[name][user])
        return name, str(number) if number < tables.user_sizes[name] else "unknown"
    column = list(tables.context_sizes).index(name)
    number = -1 if batch.context is None else int(batch.context[row, column])
    return name, str(number) if number >= 0 else "unknown"


def _item(data: Any, item: int) -> str:
    """The title of an item, its id where there is none."""
    title = "" if data.items.titles is None or item >= len(data.items) else str(data.items.titles[item])
    return title or _named("item", data.items.ids, item)


def _named(what: str, ids: np.ndarray, number: int) -> str:
    return f"{what} {ids[number]}" if number < len(ids) else f"a new {what}"


def draw_heat(
    parts: Sequence[str], heat: Sequence[Sequence[float]], probability: Sequence[float]
) -> tuple[Figure, Axes]:
    """Figure 6: the weight of each part in each case, from the least to the most that tanh allows; white is 1 / L.

    Args:
        parts: their names, [L]. heat: [L, cases]. probability: of a click, of each case.

    Returns:
        the figure, and the axes that take its title.
    """
    from matplotlib.colors import TwoSlopeNorm

    from hyperctr.reporting.figures import FAINT, GREY, INK, canvas, luminance

    heat, (low, high) = np.asarray(heat), bounds(len(parts))
    even, count = 1 / len(heat), heat.shape[1]
    figure, axes = canvas(3.6 + 0.5 * count, 1.9 + 0.36 * len(heat))
    image = axes.imshow(heat, cmap="RdBu_r", norm=TwoSlopeNorm(even, low, high), aspect="auto")
    axes.set_yticks(range(len(heat)), [f"{WORDS[part]}  {_letters(part)}" for part in parts])
    axes.set_xticks(range(count), [f"{p:.2f}" for p in probability], fontsize=8)
    axes.set_xlabel("cases, each with its click probability")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for edge in range(1, count):
        axes.axvline(edge - 0.5, color="white", linewidth=1.2)
    axes.axhline(sum(part.startswith("e_") for part in parts) - 0.5, color="white", linewidth=4)
    for (part, k), weight in np.ndenumerate(heat):
        ink = INK if luminance(image.to_rgba(weight)) > 0.3 else "white"
        axes.text(k, part, f"{weight:.2f}"[1:], ha="center", va="center", fontsize=7.5, color=ink)
    bar = figure.colorbar(image, ax=axes, pad=0.02, ticks=[low, even, high])
    bar.ax.set_yticklabels([f"{low:.3f}", f"1/{len(heat)}", f"{high:.3f}"], fontsize=8)
    bar.ax.axhline(even, color=GREY, linewidth=1.2)
    bar.outline.set_edgecolor(FAINT)
    return figure, axes


def _draw_case(frame: pl.DataFrame, most: int) -> Figure:
    from hyperctr.reporting.figures import BLUE, FAINT, GREY, INK, ORANGE, RED, canvas

    lines: list[dict | str] = []
    for group, words in GROUPS.items():
        things = frame.filter(group=group)
        if len(things):
            shown = things.head(most) if group == "clicks" else things
            lines += [words + (f", {most} of {len(things)}" if len(things) > len(shown) else "")]
            lines += shown.to_dicts()
    figure, (left, right) = canvas(9.6, 1.5 + 0.23 * len(lines), 1, 2, sharey=True)
    for y, line in enumerate(lines):
        if isinstance(line, str):
            head = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "annotation_clip": False}
            left.annotate(line, (0, y), (-6, 0), ha="right", va="center", weight="bold", fontsize=9, color=INK, **head)
            continue
        left.barh(y, line["weight"], color=BLUE, height=0.72)
        right.barh(y, line["effect"], color=ORANGE if line["effect"] >= 0 else GREY, height=0.72)
        for axes, value, text in ((left, line["weight"], "{:.2f}"), (right, line["effect"], "{:+.2f}")):
            side, sign = ("left", 1) if value >= 0 else ("right", -1)
            text = text.format(value) if abs(value) >= 0.005 else "0"
            where = {"textcoords": "offset points", "va": "center", "ha": side, "fontsize": 7, "color": GREY}
            axes.annotate(text, (value, y), (3 * sign, 0), **where)
    named = [(y, _label(line)) for y, line in enumerate(lines) if isinstance(line, dict)]
    left.set_yticks(*zip(*named, strict=True), fontsize=8)
    left.set_ylim(len(lines) - 0.4, -0.8)
    left.set_xlabel("weight: its share of the attention of its group")
    right.set_xlabel("effect: the logit as it is minus without")
    right.axvline(0, color=INK, linewidth=0.8)
    for axes in (left, right):
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.15)
    right.tick_params(axis="y", labelleft=False)
    told = Reading(frame, ()).faithfulness().drop_nans().rows()
    said = ", ".join(f"{group} {correlation:+.2f}" for group, _, correlation in told)
    first = frame.row(0, named=True)
    figure.suptitle(f"{first['user']}, {first['item']}: click probability {first['probability']:.2f}", x=0.02,
                    ha="left", fontsize=12, weight="bold", color=INK)  # fmt: skip
    figure.supxlabel(f"rank correlation of weight and size of effect: {said or 'none'}", x=0.02, ha="left", fontsize=9,
                     color=RED if any(c < 0 for *_, c in told) else GREY)  # fmt: skip
    return figure


def _label(line: Mapping[str, Any]) -> str:
    name = line["name"] if len(line["name"]) <= 32 else line["name"][:31] + "…"
    if line["group"] == "parts":
        return f"{WORDS[name]}  {_letters(name)}"
    if line["group"] == "clicks":
        return name if line["days"] is None else f"{name}, {line['days']:.1f} days ago"
    return f"{name} {line['value']}"


def _letters(part: str) -> str:
    """The paper's symbol of a part."""
    letter, below = part.split("_")
    return f"${letter}_{{{below}}}$"
