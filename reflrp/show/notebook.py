"""What a notebook shows of an explanation, a model and a ledger: small tables, and a picture of the first sample.

Each is a piece of HTML with nothing to load and nothing to run, in which what comes from a file is escaped.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from rich.table import Table

from reflrp.arrays.looks import described, listed, shortened
from reflrp.errors import ReflrpError
from reflrp.show.axes import by_sample, channel_of
from reflrp.show.images import COLOURS, title_of
from reflrp.show.tables import Part, ledger_parts, number, summary_parts, totals_parts
from reflrp.show.tokens import tokens

if TYPE_CHECKING:
    from reflrp.explanation import Explanation
    from reflrp.ledger import Ledger
    from reflrp.model import Model

ROWS = 100
"""At most so many rows of a table are shown."""

LONGEST = 512
"""At most so many tokens are shown."""

SIDE = 224
"""About how many pixels a picture is wide."""


def explanation_html(e: Explanation) -> str:
    """Return what was explained, the relevance of each input, where the rest stayed, and the first sample's picture."""
    try:
        e = e.rounded()
    except ReflrpError as error:  # what no float64 holds has no picture
        return "\n".join(map(_line, (repr(e), str(error))))
    rows = [[k, described(R), number(float(R.sum()))] for k, R in (*e.relevances.items(), *e.layers.items())]
    target = listed(map(str, e.target), 8) if e.target else "none, the initial relevance was given"
    lines = [f"{e.score} {described(e.output)}, target {target}", *(f"note: {n}" for n in e.notes)]
    lines += [f"advice: {text}" for text in e.advice]
    parts = [_html(["relevance of", "array", ">sum"], rows), *map(_line, lines)]
    return "\n".join([*parts, *map(as_html, totals_parts(e.conservation)), *_pictures(e)])


def model_html(model: Model) -> str:
    """Return the layer table at the declared shapes; where these do not do, what the file holds, and why not more."""
    try:
        parts: Sequence[Part] = summary_parts(model)
    except ReflrpError as error:
        parts = [repr(model), str(error)]
    return "\n".join(map(as_html, parts))


def ledger_html(ledger: Ledger) -> str:
    """Return the ledger as a table."""
    return "\n".join(map(as_html, ledger_parts(ledger)))


def as_html(part: Part) -> str:
    """Return a table or a line as HTML."""
    if isinstance(part, str):
        return _line(part)
    heads = [f"{'>' if c.justify == 'right' else ''}{c.header}" for c in part.columns]
    foot = [str(c.footer) for c in part.columns] if part.show_footer else []
    return _html(heads, _rows(part), foot)


def _rows(table: Table) -> list[Sequence[str]]:
    return list(zip(*([str(cell) for cell in c.cells] for c in table.columns), strict=True))


def _line(text: str) -> str:
    return f'<pre style="margin: 0.3em 0">{escape(text)}</pre>'


def _html(heads: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str] = ()) -> str:
    """Return a table; a column whose name starts with ">" is set to the right."""
    sides = ["right" if h.startswith(">") else "left" for h in heads]
    body = [_row(row, sides) for row in rows[:ROWS]]
    if len(rows) > ROWS:
        body.append(_row([f"... {len(rows) - ROWS} more", *[""] * (len(heads) - 1)], sides))
    head = f"<thead>{_row([h.lstrip('>') for h in heads], sides, 'th')}</thead>"
    return f"<table>{head}<tbody>{''.join(body)}{_row(foot, sides, 'th') if foot else ''}</tbody></table>"


def _row(cells: Iterable[str], sides: Sequence[str], tag: str = "td") -> str:
    made = (
        f'<{tag} style="text-align: {side}">{escape(shortened(cell))}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(made)}</tr>"


def _pictures(e: Explanation) -> list[str]:
    """Return the first sample of each input that is an image or a sequence of token ids."""
    found = []
    for name, array in e.relevances.items():
        R = by_sample(e, name, array) if e.output.ndim and e.output.size else None
        if R is None:
            continue
        if R.ndim == 4:
            found += [_line(f"{title_of(e, 0)} · {name}"), _image(R[0].sum(axis=channel_of(e, name) or 0))]
        elif R.ndim == 2 and R.shape[1] <= LONGEST and np.asarray(e.inputs.get(name, R)).dtype.kind in "iu":
            found.append(tokens(e, sample=0, name=name)._repr_html_())
    return found


def _image(summed: np.ndarray) -> str:
    """Return the relevance of one image, summed over channels: red for the target, blue against it, white is zero."""
    step = max(1, max(summed.shape) // 1024)
    share = summed[::step, ::step] / (np.abs(summed).max(initial=0) or 1.0)
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS], dtype=float)
    at = (share + 1) / 2 * (len(stops) - 1)
    rgb = np.stack([np.interp(at, np.arange(len(stops)), stops[:, i]) for i in range(3)], axis=-1)
    picture, file = Image.fromarray(rgb.round().astype(np.uint8), "RGB"), BytesIO()
    wide = max(1, SIDE // max(picture.width, 1))
    picture.resize((picture.width * wide, picture.height * wide), Image.Resampling.NEAREST).save(file, "PNG")
    data = b64encode(file.getvalue()).decode("ascii")
    return f'<img alt="relevance" style="border: 1px solid #bbb" src="data:image/png;base64,{data}">'
