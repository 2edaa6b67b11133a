"""Read MIAN's attention by name: to clicks, user fields, context, and the parts of its global attention.

`Reading.draw` is Figure 6 of the paper (arXiv 2012.06968). A weight is a share of attention, not an effect: tanh bounds
it (`mian.bounds`), it has no sign, and with `weights="shared"` the order of the keys is the same for every candidate.
So each weight has an effect next to it: the logit minus the logit without that thing. `Reading.faithfulness` is the
rank correlation of weights and effects. Where it is low, the picture of the weights says little about the prediction.

"Without" means:
- for a part: left out of Eq. (15); the remaining weights are scaled to sum to 1;
- for a click: the click becomes padding; the other clicks keep their index;
- for a field of the user or the context: the field is unknown everywhere it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hyperctr.batch import PAST_FIELDS, Batch, Columns, Values
from hyperctr.data.clock import DAY, day
from hyperctr.models.mian import MIAN, Groups, bounds, latest
from hyperctr.runs.open import Opened, request
from hyperctr.strict import cut

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GROUPS = {"parts": "parts of the global attention", "clicks": "clicks, the latest first", "user": "fields of the user",
          "context": "context"}  # fmt: skip
WORDS = {"e_i": "candidate", "e_c": "context", "e_b": "clicks", "e_u": "user", "R_ibim": "candidate and clicks",
         "R_iuim": "candidate and user", "R_icim": "candidate and context"}  # fmt: skip
NOTE = "a weight is a share of the attention of its group, bounded by tanh; it is not an effect"
LEAST = 3  # fewest things for a rank correlation


@dataclass(frozen=True)
class Reading:
    """The attention of some cases (rows to predict).

    Attributes:
        frame: one row per case and thing: case, user, item, probability, group (see `GROUPS`), place (from 1; clicks
            from the latest), name, value (the number of a field, "unknown", or the day of a click), days (age of a
            click, null without times), weight, effect.
        parts: the parts of the global attention; empty for a model without it.
    """

    frame: pl.DataFrame
    parts: tuple[str, ...]

    def heat(self) -> np.ndarray:
        """Return the weights of the parts, [parts, cases].

        Raises:
            ValueError: the model has no global attention.
        """
        if not self.parts:
            raise ValueError("a heat map shows the global attention, this model has model.gim=false")
        return self.frame.filter(group="parts")["weight"].to_numpy().reshape(-1, len(self.parts)).T

    def faithfulness(self) -> pl.DataFrame:
        """Measure whether weights order things as their effects do: one row per group (group, cases, correlation).

        The correlation is Spearman's, between the weight and the size of the effect within a case and group, averaged
        over cases: 1 for the same order, 0 for no relation. Cases with fewer than three things, or with equal weights
        or effects, are not counted; NaN where no case is.
        """
        import polars as pl
        from scipy.stats import spearmanr

        each: dict[str, list[float]] = {name: [] for name in GROUPS if name in self.frame["group"]}
        for (_, group), things in self.frame.group_by("case", "group", maintain_order=True):
            weight, effect = things["weight"].to_numpy(), things["effect"].abs().to_numpy()
            if len(things) >= LEAST and np.ptp(weight) > 0 and np.ptp(effect) > 0:
                each[group].append(float(spearmanr(weight, effect).statistic))
        means = [float(np.mean(values)) if values else np.nan for values in each.values()]
        return pl.DataFrame(
            {"group": list(each), "cases": [len(values) for values in each.values()], "correlation": means}
        )

    def mean(self, by: Sequence | None = None) -> pl.DataFrame:
        """Average the weight and the size of the effect of each thing: group, place, name, cases, weight, effect.

        Args:
            by: one word or number per case, such as the category of its item or the activity of its user. The averages
                are then taken per value, which is the first column.

        Raises:
            ValueError: another number of values than cases.
        """
        import polars as pl

        frame, keys = self.frame, ["group", "place"]
        if by is not None:
            cases = frame["case"].n_unique()
            if len(by) != cases:
                raise ValueError(f"by needs one value per case, {cases} in all, got {len(by)}")
            frame, keys = frame.with_columns(by=pl.Series(by).gather(frame["case"])), ["by", *keys]
        clicks = pl.when(group="clicks").then(pl.format("click {}", "place")).otherwise("name")
        order = pl.col("group").replace_strict({name: n for n, name in enumerate(GROUPS)})
        means = [pl.len().alias("cases"), pl.col("weight").mean(), pl.col("effect").abs().mean()]
        table = frame.with_columns(name=clicks).group_by(*keys, "name").agg(means)
        return table.sort(*keys[:-2], order, "place").select(*keys, "name", "cases", "weight", "effect")

    def draw(self) -> Figure:
        """Draw Figure 6, the weight of each part in each case; colours end at the bounds of tanh, white is 1 / L.

        Raises:
            ValueError: the model has no global attention.
        """
        from hyperctr.reporting.figures import titles

        heat, about = self.heat(), self.frame.group_by("case", maintain_order=True).first()
        figure, axes = draw_heat(self.parts, heat, about["probability"].to_list())
        own = [part.startswith("R_") for part in self.parts]
        note = f"interactions are {sum(own)} of {len(own)} parts and get {heat[own].sum(0).mean():.2f} of it on average"
        titles(axes, "Global attention", note + "; colours end at the bounds of tanh")
        return figure

    def draw_case(self, case: int = 0, most: int = 10) -> Figure:
        """Draw the weights of a case as bars, with the effects next to them; at most `most` clicks, the latest."""
        import polars as pl

        return _draw_case(self.frame.filter(pl.col("case") == case), most)


def cases(opened: Opened, count: int = 14, seed: int = 0) -> Batch:
    """Draw test rows by a seed; as many as in Figure 6 by default."""
    rows = opened.prepared.split.test
    chosen = np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False)
    return opened.prepared.loader.batch(np.sort(chosen))


def case(opened: Opened, user: Any, item: Any, at: Any = None, context: Mapping[str, Any] | None = None) -> Batch:
    """Make a batch of one row to predict, from the data's own ids; see `hyperctr.runs.open.request`.

    Args:
        opened: a trained run.
        user, item: ids, also as text.
        at: a time as `Opened.predict` takes it. None: right after the last event of the log.
        context: value of each known context column, by name, as in the data set.

    Raises:
        ValueError: the data has no such user or item, or the model reads no such context.
    """
    data = opened.prepared.dataset
    return request(opened.prepared, data.user_ids.number(user), [data.item_ids.number(item)], at, context)


@torch.no_grad()
def read(opened: Opened, batch: Batch) -> Reading:
    """Read the attention of every row of a batch, and the effect of leaving out each thing that it attends to.

    Raises:
        ValueError: the run's model is not MIAN.
    """
    model = opened.model
    if not isinstance(model, MIAN):
        raise ValueError(f"only MIAN has this attention, this run's model is {opened.prepared.run.model_name}")
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
    """Take rows of a batch, each as its own query."""
    query, own = groups.query[row], torch.arange(len(row), device=row.device)
    return Groups(
        groups.item[row], groups.clicks[query], groups.mask[query], own, groups.user[row], groups.context[row]
    )


def _without_clicks(groups: Groups, name: str) -> tuple[Tensor, Tensor, Groups]:
    """Return row and place of every click, and for each click a copy of its row without it."""
    row, place = groups.mask[groups.query].nonzero(as_tuple=True)
    made = _rows(groups, row)
    made.clicks[made.query, place], made.mask[made.query, place] = 0.0, False
    return row, place, made


def _without_field(groups: Groups, name: str) -> tuple[Tensor, Tensor, Groups]:
    """Return row and place of every field of a group, and for each field a copy of its row with the field unknown."""
    fields = getattr(groups, name)
    row, place = torch.ones(fields.shape[:2], device=fields.device).nonzero(as_tuple=True)
    changed = fields[row]
    changed[torch.arange(len(row), device=row.device), place] = 0.0
    return row, place, replace(_rows(groups, row), **{name: changed})


def _without_parts(model: MIAN, parts: list[Tensor]) -> Tensor:
    """Compute the logits without each part, [B, L]."""
    q, score = model.gim.score(parts)
    logits = []
    for part in range(len(parts)):
        weight = score.index_fill(1, torch.tensor([part], device=score.device), -torch.inf).softmax(1)
        logits.append(model.out(model.top((weight[..., None] * q).sum(1))))
    return torch.cat(logits, 1)


def _logits(model: MIAN, row: Tensor, place: Tensor, made: Groups, shape: torch.Size) -> Tensor:
    """Compute the logits of changed rows, each at its row and place of a tensor; NaN where nothing was changed."""
    hidden, _ = model.join(model.interact(made)[0])
    logits = torch.full(shape, torch.nan, device=hidden.device)
    logits[row, place] = model.out(hidden).squeeze(1)
    return logits


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
    """Return name and value of a field of the user or the context."""
    model, tables = opened.model, opened.prepared.tables
    name = (model.user_fields if group == "user" else model.context_fields)[place]
    user = int(batch.user[row])
    if group == "user" and place == 0:
        known = user < tables.ids.num_users and bool(tables.ids.seen_user[user])
        return name, str(opened.prepared.dataset.users.ids[user]) if known else "unknown"
    if group == "user" and place <= len(tables.fields.user):
        return name, _value(tables.fields.user, tables.fields.user.values, name, user)
    return name, _value(tables.fields.context, batch.context, name, row)


def _value(columns: Columns, values: Values | None, name: str, row: int) -> str:
    """Write one value of a column: the number of a category, a scaled number, or the numbers of tags."""
    if values is None:
        return "unknown"
    if name in columns.sizes:
        number = int(values.codes[row, list(columns.sizes).index(name)])
        return str(number) if 0 <= number < columns.sizes[name] else "unknown"
    if name in columns.numbers:
        return f"{float(values.numbers[row, list(columns.numbers).index(name)]):.3g}"
    if name in PAST_FIELDS:
        return f"{len(columns.past)} numbers"
    if name in columns.tags:
        tags = values.tags[row, list(columns.tags).index(name)]
        return ", ".join(str(tag) for tag in tags[tags >= 0].tolist()) or "none"
    return "a vector"


def _item(data: Any, item: int) -> str:
    """Return the title of an item, or its id where it has no title."""
    title = "" if data.items.titles is None or item >= len(data.items) else str(data.items.titles[item])
    return cut(title) or _named("item", data.items.ids, item)


def _named(what: str, ids: np.ndarray, number: int) -> str:
    return f"{what} {ids[number]}" if number < len(ids) else f"a new {what}"


def draw_heat(
    parts: Sequence[str], heat: Sequence[Sequence[float]], probability: Sequence[float]
) -> tuple[Figure, Axes]:
    """Draw Figure 6: the weight of each part in each case, between the bounds of tanh; white is 1 / L.

    Args:
        parts: names of the parts, [L].
        heat: weights, [L, cases].
        probability: click probability of each case.

    Returns:
        The figure, and the axes for its title.
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
    left.set_xlabel("weight: share of the attention of the group")
    right.set_xlabel("effect: logit minus logit without it")
    right.axvline(0, color=INK, linewidth=0.8)
    for axes in (left, right):
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.15)
    right.tick_params(axis="y", labelleft=False)
    faithful = Reading(frame, ()).faithfulness().drop_nans().rows()
    note = ", ".join(f"{group} {correlation:+.2f}" for group, _, correlation in faithful)
    first = frame.row(0, named=True)
    figure.suptitle(f"{first['user']}, {first['item']}: click probability {first['probability']:.2f}", x=0.02,
                    ha="left", fontsize=12, weight="bold", color=INK)  # fmt: skip
    figure.supxlabel(f"rank correlation of weight and size of effect: {note or 'none'}", x=0.02, ha="left", fontsize=9,
                     color=RED if any(c < 0 for *_, c in faithful) else GREY)  # fmt: skip
    return figure


def _label(line: Mapping[str, Any]) -> str:
    name = line["name"] if len(line["name"]) <= 32 else line["name"][:31] + "…"
    if line["group"] == "parts":
        return f"{WORDS[name]}  {_letters(name)}"
    if line["group"] == "clicks":
        return name if line["days"] is None else f"{name}, {line['days']:.1f} days ago"
    return f"{name} {line['value']}"


def _letters(part: str) -> str:
    """Return the paper's symbol of a part, for matplotlib."""
    letter, below = part.split("_")
    return f"${letter}_{{{below}}}$"
