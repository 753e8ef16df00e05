"""Pictures of sequences: each token on a ground coloured by its relevance, as HTML or as a picture file.

Red speaks for the target, blue against it, white is zero; each sample has a colour scale of its own, as in `reflrp.show.images`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.arrays.looks import Brief
from reflrp.errors import InputError
from reflrp.explanation import Explanation, Labels
from reflrp.ground import checks
from reflrp.show.axes import by_sample, check_told, needed
from reflrp.show.drawable import ENTRIES, TOKENS, check_explanation, check_range, chosen
from reflrp.show.figures import require_matplotlib, write_figure
from reflrp.show.images import COLOURS, title_of
from reflrp.show.lines import ACROSS, Sentence, colour, draw, wrapped
from reflrp.show.text import inline
from reflrp.storage.files import named, read_text, write_beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGES = (".html", ".htm")
DRAWN = 10_000
"""Tokens that a picture file may show; a page may show more."""


CHARACTER = 0.087
"""The width of a character in inches."""

LINE = 0.27
"""The height of a line in inches."""

REST = "·"
"""Stands for the positions behind the tokens that were given: padding."""

PAGE = "body { font: 16px/2.1 system-ui, sans-serif; color: #333; background: #fff; margin: 2em; max-width: 60em; }"

STYLE = """.relevance h4 { font-size: 15px; font-weight: 600; margin: 1.6em 0 0.2em; line-height: 1.4; }
.relevance p { line-height: 2.1; }
.relevance span { padding: 0.15em 0.3em; margin: 0 0.08em; border-radius: 0.2em; white-space: pre-wrap; }
.relevance div { font-size: 12px; line-height: 1.4; color: #555; }
.relevance i { display: inline-block; width: 9em; height: 0.8em; margin: 0 0.5em; border: 1px solid #bbb;
  vertical-align: middle; }"""


@dataclass(frozen=True, eq=False)
class TokenPicture(Brief):
    """Tokens coloured by relevance. A notebook shows it; `html`, `figure` and `save` give it elsewhere."""

    sentences: tuple[Sentence, ...]

    def html(self) -> str:
        """Return a page of its own, with nothing to load and nothing to run."""
        parts = "\n".join(_section(s) for s in self.sentences)
        head = f'<meta charset="utf-8"><title>Relevance of tokens</title><style>{PAGE}\n{STYLE}</style>'
        return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{parts}\n</body></html>\n'

    def _repr_html_(self) -> str:
        return f"<style>{STYLE}</style>" + "\n".join(_section(s) for s in self.sentences)

    def figure(self) -> Figure:
        """Return a matplotlib figure. Raises ReflrpError where matplotlib is not installed."""
        require_matplotlib()
        from matplotlib.figure import Figure

        count = sum(len(s.tokens) for s in self.sentences)
        if count > DRAWN:
            raise InputError(
                f"a picture file shows up to {DRAWN:,} tokens, and these are {count:,}: write .html instead"
            )
        lines = [wrapped(s.tokens) for s in self.sentences]
        height = sum(len(found) + 2.0 for found in lines)
        figure = Figure(figsize=((ACROSS + 2) * CHARACTER, height * LINE))
        axes = figure.add_axes((0, 0, 1, 1))
        top = 0.0
        for sentence, found in zip(self.sentences, lines, strict=True):
            draw(axes, sentence, found, top)
            top += len(found) + 2
        axes.set(xlim=(-1, ACROSS + 1), ylim=(height, 0))
        axes.set_axis_off()
        return figure

    def save(self, path: str | Path) -> Path:
        """Write it: .html, or whatever matplotlib writes (.png, .pdf, .svg ...)."""
        path = named(path)
        if path.suffix.lower() in PAGES:
            text = self.html().encode("utf-8", "xmlcharrefreplace")
            write_beside(path, lambda file: file.write(text))
            return path
        write_figure(self.figure(), path)
        return path


def tokens(
    explanation: Explanation,
    labels: Labels = None,
    *,
    sample: int | Sequence[int] | None = None,
    name: str | None = None,
    time_first: bool | None = None,
) -> TokenPicture:
    """Return the picture of a sequence's relevance: see `Explanation.tokens`."""
    check_explanation(explanation)
    time_first = checks.optional_flag("time_first", time_first)
    name, R = _relevance(explanation, None if name is None else checks.text("name", name))
    labels = _labels(labels)
    samples = chosen(explanation, sample)
    per_token = _per_token(explanation, name, R, time_first)
    _check_tokens(name, per_token, len(samples))
    ids = _ids(explanation, name, per_token.shape, time_first)
    found = []
    for n in samples:
        texts = _texts(labels, n, per_token.shape, ids)
        title = title_of(explanation, n) + ("" if [name] == list(explanation.relevances) else f" · {inline(name, 80)}")
        found.append(Sentence(f"{title}; relevance, sum {per_token[n].sum():.4g}", texts, per_token[n]))
    return TokenPicture(tuple(found))


def _check_tokens(name: str, per_token: np.ndarray, samples: int) -> None:
    count = per_token.shape[1] * samples
    if not 0 < count <= TOKENS:
        raise InputError(f"{name!r} has {count:,} tokens to draw; a picture shows 1 to {TOKENS:,}: choose with sample=")
    check_range(f"the relevance of {name!r}", per_token)


def _relevance(e: Explanation, name: str | None) -> tuple[str, np.ndarray]:
    if name is None:
        if len(e.relevances) != 1:
            names = ", ".join(inline(repr(k), 80) for k in list(e.relevances)[:8])
            raise InputError(f"the inputs {names} have relevance; say which one: name= (--name)")
        name = next(iter(e.relevances))
    found = e.relevances.get(name)
    return name, found if found is not None else e.layer(name)


def _per_token(e: Explanation, name: str, R: np.ndarray, time_first: bool | None) -> np.ndarray:
    """Return relevance (samples, tokens), where the samples are known to be, or told."""
    if e.layout is None:
        return by_token(R, len(e.output), time_first, name)
    check_told(e, time_first, name)
    return by_token(needed(e, name, R, time_first), len(e.output), False, name)


def by_token(R: np.ndarray, count: int, time_first: bool | None = None, name: str = "the input") -> np.ndarray:
    """Return relevance (samples, tokens): what stands on further axes, as those of embeddings, is summed.

    Parameters
    ----------
    R : array
        (N, T), (N, T, d) or, with the time first, (T, N), (T, N, d).
    count : int
        How many samples there are.
    time_first : bool, optional
        None: the axis that has as many entries as there are samples is the batch, the first where both have.
    name : str
        What to call it in an error.

    Raises
    ------
    InputError
        Where R has no axis of time, or neither of the first two is the batch.

    """
    if R.ndim < 2 or count not in R.shape[:2]:
        raise InputError(
            f"{name!r} has the shape {R.shape}, which is no sequence (samples, tokens, ...) of {count} samples"
        )
    first = R.shape[0] != count if time_first is None else time_first
    if R.shape[1 if first else 0] != count:
        raise InputError(
            f"{name!r} has the shape {R.shape}: its axis {1 if first else 0} is no batch of {count} samples"
        )
    turned = np.moveaxis(R, 1, 0) if first else R
    summed: np.ndarray = turned.sum(axis=tuple(range(2, turned.ndim)))
    return summed


def _ids(e: Explanation, name: str, shape: tuple[int, ...], time_first: bool | None) -> np.ndarray | None:
    """Return the token ids (samples, tokens) of an input of integers; of an inner value, those that it goes with."""
    names = [name] if name in e.inputs else list(e.relevances)
    found = {k: e.inputs[k] for k in names if k in e.inputs and e.inputs[k].dtype.kind in "iu"}
    if e.layout is not None:
        turned = [by_sample(e, k, x, time_first) for k, x in found.items()]
        fits = [x for x in turned if x is not None and x.shape == shape]
        return fits[0] if len(fits) == 1 else None
    fitting = [x for x in found.values() if x.shape in (shape, shape[::-1])]
    if len(fitting) != 1:
        return None
    return fitting[0].T if fitting[0].shape != shape or time_first else fitting[0]


def _labels(labels: Any) -> Labels:
    """Return the texts of tokens as they may be given. Raises InputError for anything else."""
    if labels is None or isinstance(labels, Mapping | str):
        return labels
    rows = labels.tolist() if isinstance(labels, np.ndarray) and labels.size <= ENTRIES else labels
    listed = isinstance(rows, Sequence) and not isinstance(rows, bytes)
    if not listed or not all(isinstance(row, str | Sequence) for row in rows):
        raise checks.refuse("labels", labels, "a list of texts, a list of such, a dict {id: text}, or None")
    found: Labels = rows
    return found


def _texts(labels: Labels, n: int, shape: tuple[int, ...], ids: np.ndarray | None) -> tuple[str, ...]:
    """Return the tokens of sample n, one for each position."""
    count, length = shape
    if labels is None:
        return tuple(map(str, ids[n] if ids is not None else range(length)))
    if isinstance(labels, Mapping):
        if ids is None:
            raise InputError("a vocabulary is for token ids, and this input holds none; give the tokens themselves")
        return tuple(str(labels.get(int(i), f"[{i}]")) for i in ids[n])
    if isinstance(labels, str):
        raise InputError("labels is one text; give a list of its tokens, as text.split()")
    one = all(isinstance(t, str) for t in labels)
    if not one and any(isinstance(t, str) for t in labels):
        raise checks.refuse("labels", labels, "texts, or lists of texts, and not both")
    if not one and len(labels) != count:
        raise InputError(f"labels holds the tokens of {len(labels)} samples, but there are {count}")
    own = list(labels if one else labels[n])
    if len(own) > length:
        raise InputError(f"labels holds {len(own)} tokens for sample {n}, but the sequence has {length}")
    return (*map(str, own), *(REST for _ in range(length - len(own))))


# HTML


def _section(s: Sentence) -> str:
    spans = " ".join(_span(*token) for token in zip(s.tokens, s.relevance, s.shares, strict=True))
    scale = f'{-s.limit:.3g}<i style="background:linear-gradient(90deg,{",".join(COLOURS)})"></i>{s.limit:.3g}'
    return f'<section class="relevance"><h4>{escape(s.title)}</h4>\n<p>{spans}</p>\n<div>{scale}</div></section>'


def _span(token: str, relevance: float, share: float) -> str:
    ground, ink = colour(share)
    return f'<span style="background:{ground};color:{ink}" title="{relevance:.6g}">{escape(token)}</span>'


# Pictures


def labelled(
    explanation: Explanation, path: Path | None, time_first: bool | None = None, name: str | None = None
) -> TokenPicture:
    """Return the picture of a sequence whose tokens stand in a text file (see `read_labels`)."""
    name, R = _relevance(explanation, name)
    shape = _per_token(explanation, name, R, time_first).shape
    labels = None if path is None else read_labels(path, shape, _ids(explanation, name, shape, time_first))
    return tokens(explanation, labels, time_first=time_first, name=name)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file of tokens."""
    return read_text(path).splitlines()


def read_labels(path: Path, shape: tuple[int, ...], ids: np.ndarray | None) -> Any:
    """Return the tokens that a text file holds, for relevance of this shape (samples, tokens).

    As many lines as samples: the tokens of each, with spaces between them. As many lines as tokens, of one sample: a
    token each. For token ids, more lines than the largest id: a vocabulary.
    """
    lines = read_lines(path)
    count, length = shape
    if len(lines) == count:
        return [line.split() for line in lines]
    if count == 1 and len(lines) == length:
        return lines
    if ids is not None and len(lines) > int(ids.max(initial=0)):
        return dict(enumerate(lines))
    vocabulary = f", or of more than {int(ids.max(initial=0))}, a vocabulary" if ids is not None else ""
    raise InputError(
        f"{path} has {len(lines)} lines; give one of {count}, the tokens of each sample{vocabulary}"
        + (f", or of {length}, the tokens of the one sample" if count == 1 else "")
    )


def check_lines(path: Path, lines: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
    """Raise InputError where a file of tokens can be for none of these inputs, wherever they have their samples."""
    ids = [int(x.max(initial=0)) for x in arrays if x.dtype.kind in "iu"]
    if len(lines) in {n for x in arrays for n in x.shape[:2]} or any(len(lines) > most for most in ids):
        return
    vocabulary = f", or more than {max(ids)} lines, a vocabulary" if ids else ""
    raise InputError(
        f"{path} has {len(lines)} lines, and no input has so many samples; give a line of tokens for each{vocabulary}"
    )
