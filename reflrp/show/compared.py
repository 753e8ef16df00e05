"""What people see of a comparison: a table, a page, and a picture of both answers and of where they part."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.comparison.compare import START
from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.show.axes import CHANNELS
from reflrp.show.drawable import check_range
from reflrp.show.figures import require_matplotlib, write_figure
from reflrp.show.images import COLOURS, INK
from reflrp.show.notebook import as_html
from reflrp.show.tables import Part, grid, plain
from reflrp.show.text import inline
from reflrp.storage.files import write_beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reflrp.comparison import Cause, Comparison, Row

NODES = 12
"""A table lists so many of the nodes that add to the difference."""

LONGEST = 64
"""Characters of a rule in a table."""

LABELS = 40
"""So many of the nodes that add to the difference have their names in the picture."""

ROUTING = "routing"
"""How nodes that only move values read in a row: they can add nothing, and are left out of the picture."""

FEATURES = 20
"""Of a vector, the entries that differ most are drawn."""


def text(c: Comparison) -> str:
    """Return the comparison as plain text."""
    return plain(*parts(c))


def html(c: Comparison) -> str:
    """Return the comparison as tables, for a notebook."""
    return "\n".join(map(as_html, parts(c)))


def page(c: Comparison, path: str | Path | None = None) -> str:
    """Return a page of its own, with a picture where both sides have an input's relevance; with `path`, also write it."""
    place = None if path is None else checks.path("path", path)
    title = escape(inline(f"{c.a} against {c.b}"))
    whole = (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:14px sans-serif;margin:2em;color:#333}table{border-collapse:collapse;margin:1em 0}"
        "td,th{padding:2px 10px;text-align:left}</style></head>"
        f"<body><h1>{title}</h1>{_picture(c)}{html(c)}</body></html>"
    )
    if place is not None:
        write_beside(place, lambda file: file.write(whole.encode("utf-8", "backslashreplace")))
    return whole


def _unsure(c: Comparison) -> str:
    """Return that other nodes than `first` may be the one, up to the next values of which relevance was given."""
    others = [name if name == START else repr(name) for name in c.span if name != c.first]
    if not others:
        return ""
    *most, last = others
    listed = f"{', '.join(most)} or {last}" if most else last
    return f" It may as well be {listed}, since nothing was given between."


def parts(c: Comparison) -> list[Part]:
    """Return what is to be said: how far both are apart, where they part, and why."""
    found: list[Part] = [f"a: {c.a}", f"b: {c.b}"]
    if c.first is None:
        return [*found, f"They agree: max|R_a - R_b| is {c.difference:.2g} of the largest relevance."]
    found.append(
        f"max|R_a - R_b| is {c.difference:.3g} of the largest relevance; they part at {c.first!r}.{_unsure(c)}"
    )
    if c.variants:
        found.append(f"What was given there is what {_reading(c.variants[0])} says.")
        found += [f"The same: {other}." for other in c.variants[1:4]]
    if c.causes:
        columns = ["cause", "a", "b", ">explains", ">added to a", ">taken from b", "clause", "nodes"]
        found.append(grid(columns, [_cause(cause) for cause in c.causes]))
    return [*found, *_rows(c)]


def _reading(variant: str) -> str:
    """Return a reading in words: a rule, or fields of the rule that the other side has."""
    return variant if variant.endswith(")") and variant[:1].isupper() else f"the rule with {variant}"


def _cause(cause: Cause) -> list[str]:
    nodes = cause.nodes[0] if len(cause.nodes) == 1 else f"{len(cause.nodes)} nodes"
    shares = (_percent(s) for s in (cause.share, cause.added, cause.removed))
    return [cause.what, _short(cause.a), _short(cause.b), *shares, cause.clause, nodes if cause.nodes else "-"]


def _percent(share: float) -> str:
    """Return a share; one of thousands, where settings make up for one another, by its size."""
    percent = round(100 * share, 1) + 0.0  # no -0.0
    return f"{percent:.1f} %" if abs(percent) < 1e4 else f"{percent:.0e} %"


def _rows(c: Comparison) -> list[Part]:
    """Return the nodes that add to the difference, output first."""
    adding = [r for r in c.rows if r.adds is not None and r.adds > c.tolerance]
    if not adding:
        return []
    columns = ["node", "a", "b", ">arrives", ">adds"]
    rest = [f"and {len(adding) - NODES} more nodes"] if len(adding) > NODES else []
    return [grid(columns, [_row(r) for r in adding[:NODES]]), *rest]


def _row(row: Row) -> list[str]:
    return [row.node, _short(row.a), _short(row.b) or "-", _relative(row.arrives), _relative(row.adds)]


def _relative(number: float | None) -> str:
    return "-" if number is None else f"{number:.2g}"


def _short(rule: str) -> str:
    return rule if len(rule) <= LONGEST else f"{rule[: LONGEST - 3]}..."


def _picture(c: Comparison) -> str:
    if not _drawn(c):
        return ""
    file = BytesIO()
    plot(c).savefig(file, format="png", dpi=110)
    return f'<img alt="both relevances" src="data:image/png;base64,{b64encode(file.getvalue()).decode("ascii")}">'


def _drawn(c: Comparison) -> list[str]:
    """Return the inputs of which both sides have the relevance."""
    return [k for k in c.relevances["a"] if k in c.relevances["b"]]


def plot(c: Comparison, path: str | Path | None = None, *, sample: int = 0) -> Figure:
    """Draw both relevances of one sample, their difference, and what arrives and is added along the network.

    Parameters
    ----------
    c : Comparison
        What to draw.
    path : path, optional
        Where to write the picture too; the ending says the format.
    sample : int, default 0
        Which sample.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        For a sample that is not there, and where a side has no relevance of an input.

    """
    place = None if path is None else checks.path("path", path)
    require_matplotlib()
    from matplotlib.figure import Figure

    names = _drawn(c)
    if not names:
        raise InputError("one side has no relevance of an input, so there is nothing to draw")
    figure = Figure(figsize=(10.5, 3.1 * len(names) + 3.0), layout="constrained")
    blocks = figure.subfigures(len(names) + 1, 1, squeeze=False, height_ratios=[3.1] * len(names) + [3.0]).ravel()
    for block, name in zip(blocks, names, strict=False):
        _draw_input(block, c, name, sample)
    _draw_way(blocks[-1], c)
    if place is not None:
        write_figure(figure, place)
    return figure


def _draw_input(part: Any, c: Comparison, name: str, sample: int) -> None:
    one, two = (np.asarray(c.relevances[k][name], dtype=float) for k in "ab")
    if not one.ndim or not -len(one) <= sample < len(one):
        raise InputError(
            f"sample={sample} is not among those of input {name!r}, whose relevance has the shape {one.shape}"
        )
    pictures = {f"a: {c.a}": one[sample], f"b: {c.b}": two[sample], "b - a": two[sample] - one[sample]}
    for axes, (title, R) in zip(part.subplots(1, 3), pictures.items(), strict=True):
        check_range(f"the relevance of {inline(name, 80)!r}", R)
        _draw(axes, R, np.abs(pictures["b - a"]))
        largest = float(np.abs(R).max(initial=0))
        label = f"{_begun(title)}\nsum {R.sum():.4g}, largest {largest:.3g}"
        axes.set_title(label, fontsize=9, color=INK, loc="left", parse_math=False)


def _draw(axes: Any, R: np.ndarray, apart: np.ndarray) -> None:
    """Draw an image, a map, or the entries of a vector at which both sides are most apart."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("relevance", COLOURS, N=257)
    aspect = "equal" if R.ndim == 3 else "auto"
    if R.ndim == 3:
        R = R.sum(axis=2 if R.shape[0] not in CHANNELS and R.shape[2] in CHANNELS else 0)
    limit = float(np.abs(R).max(initial=0)) or 1.0
    if R.ndim == 2:
        axes.imshow(R, cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest", aspect=aspect)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    chosen = np.argsort(-apart.reshape(-1), kind="stable")[:FEATURES]
    values = R.reshape(-1)[chosen]
    axes.barh(np.arange(chosen.size), values, color=colours(0.5 + 0.5 * values / limit), edgecolor=INK, linewidth=0.4)
    axes.set_yticks(np.arange(chosen.size), [f"x[{i}]" for i in chosen], fontsize=7)
    axes.invert_yaxis()


def _begun(title: str, width: int = 40) -> str:
    """Return the beginning of a side's title."""
    whole = inline(title, 200)
    return whole if len(whole) <= width else f"{whole[: width - 3]}..."


def _ended(name: str, width: int = 26) -> str:
    """Return the end of a node's name, which tells it from its neighbours."""
    whole = inline(name, 200)
    return whole if len(whole) <= width else f"...{whole[3 - width :].lstrip('.')}"


def _draw_way(part: Any, c: Comparison) -> None:
    """Draw, from the output to the input, how far both are apart, and what each node adds."""
    axes = part.subplots()
    rows = [r for r in c.rows if (r.arrives is not None or r.adds is not None) and not (ROUTING == r.a == (r.b or r.a))]
    places = np.arange(len(rows))
    low = c.tolerance / 100
    arrives = [np.nan if r.arrives is None else max(r.arrives, low) for r in rows]
    adds = [r.adds if r.adds is not None and r.adds > c.tolerance else np.nan for r in rows]
    axes.bar(places, adds, bottom=low, color="#a6cde3", edgecolor=INK, linewidth=0.4, label="added by the node")
    axes.plot(places, arrives, color="#b2182b", marker="o", markersize=3, linewidth=1.2, label="arrives at the node")
    axes.axhline(c.tolerance, color=INK, linewidth=0.6, linestyle=":")
    axes.set_yscale("log")
    axes.set_ylabel("relative difference", fontsize=8, color=INK)
    named = [i for i in places if adds[i] == adds[i]] or list(places)  # NaN: it adds nothing
    named = named[:: max(1, -(-len(named) // LABELS))]
    axes.set_xticks(named, [_ended(rows[i].node) for i in named], rotation=45, ha="right", fontsize=7, parse_math=False)
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0.6, 1.0), ncols=2)
    axes.set_title(
        f"from the output to the input; they part at {inline(str(c.first), 60)}", fontsize=9, color=INK, loc="left",
        parse_math=False,
    )  # fmt: skip
