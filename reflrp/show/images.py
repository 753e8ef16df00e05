"""Pictures: the relevance beside the input. Red speaks for the target, blue against it, white is zero.

Each sample has a colour scale of its own, from -max|R| to max|R|; its colour bar gives the number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.explanation import Explanation
from reflrp.ground import checks
from reflrp.seeds import label, value
from reflrp.show.axes import CHANNELS, channel_of, check_told, names_of, needed, shared
from reflrp.show.drawable import check_drawable, check_explanation, chosen
from reflrp.show.figures import require_matplotlib, write_figure
from reflrp.show.text import inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#053061", "#2166ac", "#4393c3", "#a6cde3", "#ffffff", "#f6b99b", "#d6604d", "#b2182b", "#67001f")
"""From blue over white to red."""

INK = "#333333"
BARS = 20
"""At most so many features of a vector are drawn: those with the largest |R|."""

SERIES = 20_000
"""A time series of more steps is drawn as two maps too."""

BARE = 1000
"""Of more tokens, the bars are lines: an outline would cover them."""

LANES = 6
"""A time series of up to so many channels has one lane a channel; one of more is drawn as two maps."""


@dataclass(frozen=True)
class Panel:
    """What is drawn of one input of one sample: the input, its relevance, and the texts."""

    name: str
    x: np.ndarray
    R: np.ndarray
    title: str
    wide: bool
    axes: tuple[str, str] = ("axis 0", "axis 1")

    @property
    def limit(self) -> float:
        """The end of the symmetric colour scale: the largest |R| that is drawn."""
        return float(np.abs(self.R).max(initial=0)) or 1.0


Draw = Callable[[Any, Panel], None]
"""Draws a panel into a SubFigure."""


def plot(
    explanation: Explanation,
    path: str | Path | None = None,
    *,
    sample: int | Sequence[int] | None = None,
    time_first: bool | None = None,
) -> Figure:
    """Draw the relevance beside the input, one row a sample, one panel an input.

    Images (N, C, H, W) or (N, H, W, C): the input in grey or colour, and its relevance summed over channels.
    Time series (N, C, T) or (N, T, C): the course over a ground that is coloured by relevance.
    Feature vectors (N, F) and tokens (N, T): signed bars; of many features, those with the largest |R|.

    Parameters
    ----------
    explanation : Explanation
        What to draw.
    path : path, optional
        Where to write the picture too; the ending says the format (.png, .pdf, .svg ...).
    sample : int or ints, optional
        Which samples. None: all, up to 20.
    time_first : bool, optional
        Whether the samples are on the second axis of the inputs, or on the first. None: where it is proven that they are.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ReflrpError
        Where matplotlib is not installed.
    InputError
        For a sample that is not there, an ending that matplotlib cannot write, and where it is not known which axis holds
        the samples.

    """
    check_explanation(explanation)
    place = None if path is None else checks.path("path", path)
    require_matplotlib()
    from matplotlib.figure import Figure

    time_first = checks.optional_flag("time_first", time_first)
    check_told(explanation, time_first)
    rows = [_panels(explanation, n, time_first) for n in chosen(explanation, sample)]
    across = 2 if len(rows) > 3 and not any(p.wide for p in rows[0]) else 1
    down = -(-len(rows) // across)
    widths = [6.4 if p.wide else 4.6 for p in rows[0]]
    height = max(_height(p) for row in rows for p in row)
    figure = Figure(figsize=(across * sum(widths), down * height + 0.1), layout="constrained")
    blocks = figure.subfigures(down, across, squeeze=False).ravel()
    for block, row in zip(blocks, rows, strict=False):
        parts = block.subfigures(1, len(row), squeeze=False, width_ratios=widths).ravel()
        for part, panel in zip(parts, row, strict=True):
            _kind(panel)[0](part, panel)
    if place is not None:
        write_figure(figure, place)
    return figure


def _panels(e: Explanation, n: int, time_first: bool | None) -> list[Panel]:
    found = []
    drawn = [name for name in e.relevances if not shared(e, name)] or list(e.relevances)
    for name, array in ((name, e.relevances[name]) for name in drawn):
        R = needed(e, name, array, time_first)[n]
        given = np.asarray(e.inputs.get(name, np.zeros_like(array)))
        x = needed(e, name, given, time_first)[n] if given.shape == array.shape else given
        check_drawable(name, x, R)
        title = title_of(e, n) + (f" · {inline(name, 80)}" if len(e.relevances) > 1 else "")
        found.append(_panel(e, name, x, R, title, time_first))
    return found


def title_of(e: Explanation, n: int) -> str:
    """Return which sample, target and output a picture is of."""
    which = f"sample {n}: " if len(e.output) > 1 else ""
    if not e.target:
        return f"{which}initial relevance as given"
    score = f"{e.score} {value(e.output, n, e.target[n]):.4g}"
    return f"{which}target {label(e.target[n])}, {score}" if e.target[n] != () else f"{which}{score}"


def _panel(e: Explanation, name: str, x: np.ndarray, R: np.ndarray, title: str, time_first: bool | None) -> Panel:
    """Return a panel with the arrays in the form in which they are drawn."""
    if x.ndim == 3:
        axis = channel_of(e, name, time_first) or 0
        return Panel(name, np.moveaxis(x, axis, 2), R.sum(axis=axis), title, wide=False)
    if x.ndim == 2:
        first, second = names_of(e, name, time_first)[:2]
        turned = first == "step" or (second != "step" and x.shape[0] > x.shape[1])
        axes = (second, first) if turned else (first, second)
        return Panel(name, x.T if turned else x, R.T if turned else R, title, wide=True, axes=axes)
    return Panel(name, x.reshape(-1), R.reshape(-1), title, wide=True)


def _kind(panel: Panel) -> tuple[Draw, float]:
    """Return how to draw a panel, and its height in inches."""
    if panel.x.ndim == 3:
        h, w = panel.R.shape
        return _draw_image, float(np.clip(2.0 * h / w, 0.9, 4.0)) + 0.55
    if panel.x.ndim == 2:
        lanes = len(panel.x) <= LANES and panel.x.shape[1] <= SERIES
        return (_draw_series, 1.2 + 0.7 * len(panel.x)) if lanes else (_draw_maps, 3.0)
    if panel.x.dtype.kind in "iub":
        return _draw_tokens, 2.4
    return _draw_features, 1.0 + 0.2 * min(panel.x.size, BARS)


def _height(panel: Panel) -> float:
    return _kind(panel)[1]


def _draw_image(part: Any, panel: Panel) -> None:
    left, right = part.subplots(1, 2)
    channels = panel.x.shape[2]
    picture = panel.x if channels in CHANNELS else panel.x.mean(axis=2, keepdims=True)
    shown = _stretched(picture[..., :3] if channels >= 3 else picture[..., 0])
    left.imshow(shown if shown.ndim == 2 or shown.shape[2] == 3 else shown[..., 0], cmap="gray", vmin=0, vmax=1)
    _map(part, right, panel, panel.R)
    for axes in (left, right):
        axes.set_xticks([])
        axes.set_yticks([])
    _label(left, panel.title.replace(", ", "\n", 1))
    over = f" over {channels} channels" if channels > 1 else ""
    _label(right, f"relevance\nsum {panel.R.sum():.4g}{over}")


def _draw_maps(part: Any, panel: Panel) -> None:
    """Draw a series of many channels as two maps, channels by time."""
    left, right = part.subplots(1, 2, sharey=True)
    left.imshow(panel.x, cmap="gray", aspect="auto", interpolation="nearest")
    _map(part, right, panel, panel.R, aspect="auto")
    left.set_ylabel(panel.axes[0], color=INK, fontsize=8)
    for axes in (left, right):
        axes.set_xlabel(panel.axes[1], color=INK, fontsize=8)
        axes.tick_params(labelsize=7)
    _label(left, panel.title)
    _label(right, f"relevance, sum {panel.R.sum():.4g}")


def _draw_series(part: Any, panel: Panel) -> None:
    """Draw each channel's course in a lane of its own, over a ground coloured by relevance."""
    axes = part.subplots()
    channels, steps = panel.x.shape
    _map(part, axes, panel, panel.R, aspect="auto", extent=(-0.5, steps - 0.5, channels, 0))
    for c, course in enumerate(panel.x):
        axes.plot(np.arange(steps), c + 0.9 - 0.8 * _stretched(course), color=INK, linewidth=1.2)
        if c:
            axes.axhline(c, color=INK, linewidth=0.5)
    axes.set_yticks(np.arange(channels) + 0.5, [f"{panel.axes[0]}: {c}" for c in range(channels)])
    axes.set_xlabel(panel.axes[1], color=INK, fontsize=8)
    axes.tick_params(labelsize=8, colors=INK)
    _label(axes, f"{panel.title}; relevance, sum {panel.R.sum():.4g}")


def _draw_features(part: Any, panel: Panel) -> None:
    """Draw signed bars of the features with the largest |R|."""
    axes = part.subplots()
    order = np.arange(panel.R.size)
    many = order.size > BARS
    if many:
        order = np.argsort(-np.abs(panel.R), kind="stable")[:BARS]
    places = np.arange(order.size)
    axes.barh(places, panel.R[order], color=_bar_colours(panel, order), edgecolor=INK, linewidth=0.4)
    axes.set_yticks(places, [f"x[{i}] = {panel.x[i]:.3g}" for i in order])
    axes.invert_yaxis()
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlim(-1.08 * panel.limit, 1.08 * panel.limit)
    _dress(axes)
    kept = f" (the {BARS} largest of {panel.R.size})" if many else ""
    axes.set_xlabel(f"relevance{kept}", color=INK, fontsize=8)
    _label(axes, f"{panel.title}; relevance, sum {panel.R.sum():.4g}")


def _draw_tokens(part: Any, panel: Panel) -> None:
    """Draw a signed bar for each token."""
    axes = part.subplots()
    places = np.arange(panel.R.size)
    if places.size <= BARE:
        axes.bar(places, panel.R, color=_bar_colours(panel, places), edgecolor=INK, linewidth=0.4)
    else:
        axes.vlines(places, 0, panel.R, color=_bar_colours(panel, places), linewidth=0.8)
    if places.size <= 40:
        axes.set_xticks(places, [str(t) for t in panel.x], rotation=60 if places.size > 12 else 0)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylim(-1.08 * panel.limit, 1.08 * panel.limit)
    _dress(axes)
    axes.set_xlabel("token" if places.size <= 40 else "position", color=INK, fontsize=8)
    axes.set_ylabel("relevance", color=INK, fontsize=8)
    _label(axes, f"{panel.title}; relevance, sum {panel.R.sum():.4g}")


def _map(part: Any, axes: Axes, panel: Panel, R: np.ndarray, **options: Any) -> None:
    """Draw relevance in colour, with the colour bar that gives its limit."""
    wide = panel.wide and len(part.axes) == 1
    image = axes.imshow(R, cmap=_colours(), vmin=-panel.limit, vmax=panel.limit, interpolation="nearest", **options)
    place = axes.inset_axes((1.02 + 0.01 * wide, 0, 0.05 - 0.035 * wide, 1))
    bar = part.colorbar(image, cax=place, ticks=[-panel.limit, 0, panel.limit])
    bar.ax.set_yticklabels([f"{-panel.limit:.2g}", "0", f"{panel.limit:.2g}"], fontsize=7, color=INK)
    bar.outline.set_linewidth(0.4)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color=INK)


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("relevance", COLOURS, N=257)  # an odd number, so that 0 is white


def _bar_colours(panel: Panel, order: np.ndarray) -> Any:
    return _colours()(0.5 + 0.5 * panel.R[order] / panel.limit)


def _stretched(x: np.ndarray) -> np.ndarray:
    """Return x scaled to 0..1; a constant becomes 0.5."""
    x = x.astype(float)
    x = x / (np.abs(x).max(initial=0) or 1.0)  # so that no difference overflows
    low, high = x.min(initial=0) if not x.size else x.min(), x.max(initial=0) if not x.size else x.max()
    return np.full_like(x, 0.5) if high == low else (x - low) / (high - low)


def _dress(axes: Axes) -> None:
    axes.tick_params(labelsize=8, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _label(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=9, color=INK, loc="left", parse_math=False)  # a name may hold a dollar sign
