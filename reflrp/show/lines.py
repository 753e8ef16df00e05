"""Tokens set in the lines of a figure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.arrays.looks import Brief
from reflrp.show.images import COLOURS, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes


ACROSS = 84
"""Characters in a line of a picture."""


@dataclass(frozen=True, eq=False)
class Sentence(Brief):
    """One sample: its tokens, their relevance, and what stands above them."""

    title: str
    tokens: tuple[str, ...]
    relevance: np.ndarray

    @property
    def limit(self) -> float:
        """The end of the symmetric colour scale: the largest |R|."""
        return float(np.abs(self.relevance).max(initial=0)) or 1.0

    @property
    def shares(self) -> np.ndarray:
        """The relevance from -1 to 1, as the colours show it."""
        return self.relevance / self.limit


def colour(share: float) -> tuple[str, str]:
    """Return the colours of ground and text for relevance from -1 to 1."""
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS])
    places = np.linspace(-1, 1, len(stops))
    rgb = [float(np.interp(share, places, stops[:, i])) for i in range(3)]
    dark = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] < 140
    return "#" + "".join(f"{round(v):02x}" for v in rgb), "#ffffff" if dark else INK


def _width(token: str) -> float:
    """Return how many characters wide a token is; those of East Asia count twice, combining ones not at all."""
    wide = sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in token)
    return max(wide, 1) + 0.8


def drawn(text: str) -> str:
    """Return a token as matplotlib can draw it: in one line, and what is no letter of UTF-8 as a question mark."""
    return text.replace("\n", "⏎").encode("utf-8", "replace").decode("utf-8")


def wrapped(texts: Sequence[str]) -> list[list[tuple[float, float]]]:
    """Return, for each line, the place and width of its tokens."""
    lines: list[list[tuple[float, float]]] = [[]]
    x = 0.0
    for text in texts:
        width = min(_width(text), ACROSS)
        if lines[-1] and x + width > ACROSS:
            lines.append([])
            x = 0.0
        lines[-1].append((x, width))
        x += width + 0.3
    return lines


def draw(axes: Axes, s: Sentence, lines: list[list[tuple[float, float]]], top: float) -> None:
    """Draw a sample's title, colour scale and tokens, from the line `top` down."""
    from matplotlib.patches import Rectangle

    font: dict[str, Any] = {"family": "monospace", "fontsize": 8.5, "va": "center", "parse_math": False}
    axes.text(0, top + 0.7, s.title, fontsize=9, color=INK, va="center", parse_math=False)
    _scale(axes, s.limit, top + 0.7)
    shown = zip(s.tokens, s.shares, ((i, *place) for i, line in enumerate(lines) for place in line), strict=True)
    for token, share, (i, x, width) in shown:
        ground, ink = colour(share)
        y = top + 1.2 + i
        axes.add_patch(Rectangle((x, y + 0.08), width, 0.84, facecolor=ground, edgecolor="#cccccc", linewidth=0.4))
        text = token if _width(token) <= ACROSS else token[: ACROSS - 3] + "…"
        axes.text(x + width / 2, y + 0.5, drawn(text), color=ink, ha="center", **font)


def _scale(axes: Axes, limit: float, y: float) -> None:
    """Draw the colour scale at the right of a title."""
    from matplotlib.patches import Rectangle

    left, width, steps = ACROSS - 16.0, 8.0, 40
    for k in range(steps):
        ground = colour(2 * k / (steps - 1) - 1)[0]
        axes.add_patch(
            Rectangle((left + k * width / steps, y - 0.2), width / steps, 0.4, facecolor=ground, linewidth=0)
        )
    for x, side, value in ((left - 0.6, "right", -limit), (left + width + 0.6, "left", limit)):
        axes.text(x, y, f"{value:.2g}", fontsize=7, color=INK, ha=side, va="center")
