"""What `explain` returns: the relevance, what was explained, and the account of where relevance went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.arrays.looks import block, counted, described, listed, same
from reflrp.batches.joined import all_layers, bars, check_parts, inner, inputs, joined, layout_of, relevances
from reflrp.engine.rounding import rounded, within
from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.ground.views import Picture, shown
from reflrp.ir import Layout
from reflrp.ledger import Ledger
from reflrp.seeds import Goal
from reflrp.storage import saved
from reflrp.storage.checked import Fields
from reflrp.storage.files import named

if TYPE_CHECKING:
    from reflrp.rules.base import Rule

Labels = Sequence[str] | Sequence[Sequence[str]] | Mapping[int, str] | None
"""The tokens of one sample, those of each sample, a vocabulary {id: token}, or None: the ids or positions."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """The relevance of one batch of N samples: what `reflrp.explain` returns.

    `e.relevance` is that of the one input, and so is `np.asarray(e)`. `e1 == e2` compares everything in one bool.

    Attributes
    ----------
    relevances : dict of array
        Each input's relevance by name, shaped like the input; a token-id input has it per token.
    output : array (N, ...)
        The explained output (what goes into a final Softmax, where that is stripped).
    target : tuple
        Each sample's target, as an index after the batch axis or a Contrast of two; empty where the initial relevance was
        given. `target=e.target` explains the same again.
    layers : dict of array
        The relevance of inner values by name, where asked for.
    conservation : Ledger
        Per node what came in, went on, and stayed in bias and stabiliser.
    rules : dict
        {node name: Rule}: what was applied where.
    notes : tuple of str
        How it was made: canonizing, a stripped Softmax, a batch size that the file fixes, a graph that depends on the data.
    inputs : dict of array
        The explained inputs.
    layout : dict of dict, optional
        {name: {"sample": axis, "channel": axis}}, of each input and inner value what is proven on the graph; the axis of
        samples is None where all share the array. None altogether: nobody looked, and samples count as the first axis.
    score : str
        What `output` holds: "output", or "logit" where a final Softmax, LogSoftmax or Sigmoid is stripped.
    advice : tuple of str
        What the reader should know, and do: where far less or far more than the seed reaches the input, where an input
        leaves the box of its ZBox rule, where pixels of 0..255 are given as they are.
    uncertainty : dict of array
        How far rounding may have moved each entry of `relevances` and `layers`, by name and shaped as these, where it was asked for
        with `uncertainty=True`; else empty. They hold for 99.9 % of entries, taken over many inputs (docs/uncertainty.md).
    init : str
        What relevance started from: "output", "one", "array"; "" where a file does not say.
    init_sha256 : str
        Of an array, `reflrp.seeds.digest`.

    Examples
    --------
    >>> e = reflrp.explain("model.onnx", x)  # doctest: +SKIP
    >>> e.conservation.totals["inputs"] == e.relevance.sum()  # doctest: +SKIP
    True
    >>> e.plot("digits.png"); e.save("digits.npz")  # doctest: +SKIP

    """

    relevances: Mapping[str, np.ndarray]
    output: np.ndarray
    target: tuple[Goal, ...]
    layers: Mapping[str, np.ndarray]
    conservation: Ledger
    rules: Mapping[str, Rule | str]
    notes: tuple[str, ...] = ()
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    layout: Mapping[str, Layout] | None = None
    score: str = "output"
    advice: tuple[str, ...] = ()
    uncertainty: Mapping[str, np.ndarray] = field(default_factory=dict)
    init: str = ""
    init_sha256: str = ""

    @property
    def relevance(self) -> np.ndarray:
        """The relevance of the one input. Raises InputError where there are several; use `relevances`."""
        if len(self.relevances) != 1:
            raise InputError(f"the model has the inputs {list(self.relevances)}; use relevances[name]")
        return next(iter(self.relevances.values()))

    def __eq__(self, other: object) -> bool:
        """Return whether all arrays, targets, accounts, rules and notes are the same.

        A loaded explanation has its rules as text, and equals the one that was saved. Explanations have no hash.
        """
        if not isinstance(other, Explanation):
            return NotImplemented
        data = (f.name for f in fields(self) if f.name not in ("rules", "init_sha256"))
        return _as_text(self.rules) == _as_text(other.rules) and all(
            same(getattr(self, k), getattr(other, k)) for k in data
        )

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the relevance of the one input, for `np.asarray(e)`. Raises InputError where there are several."""
        return np.array(self.relevance, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        """Return the arrays by shape and sum, the targets, and how relevance was conserved."""
        kept = repr(self.conservation).split("\n")
        rows = {
            "relevance": listed(
                (f"{k!r} {described(v)}, sum {v.sum():.6g}" for k, v in self.relevances.items()), 3, 60
            ),
            self.score: described(self.output),
            "target": listed(map(str, self.target), 8) if self.target else "none, the initial relevance was given",
            "layers": listed(map(repr, self.layers)),
            "conservation": kept[1].strip(),
            "rules": counted(str(r).split("(")[0] for r in self.rules.values()),
        }
        said = {"notes": "; ".join(self.notes), "advice": "; ".join(self.advice)}
        return block("Explanation", rows | {k: text for k, text in said.items() if text})

    def _repr_html_(self) -> str:
        html: str = shown("explanation_html", self)
        return html

    def rounded(self) -> Explanation:
        """Return an exact explanation with each fraction as the nearest float64; any other as it is.

        Raises NonFiniteError where one is beyond the largest float64.
        """
        return replace(self, **within(rounded(self))) if self.output.dtype == object else self

    def plot(
        self,
        path: str | Path | None = None,
        *,
        sample: int | Sequence[int] | None = None,
        time_first: bool | None = None,
    ) -> Any:
        """Draw the relevance beside the input: an image, a time series, or bars, by the input's shape.

        See `reflrp.show.images.plot`. Returns the matplotlib figure; with `path`, also writes it there.
        """
        return shown("plot", self.rounded(), path, sample=sample, time_first=time_first)

    def tokens(
        self,
        labels: Labels = None,
        path: str | Path | None = None,
        *,
        sample: int | Sequence[int] | None = None,
        name: str | None = None,
        time_first: bool | None = None,
    ) -> Picture:
        """Return a sequence's tokens coloured by relevance; a notebook shows it.

        Of embeddings (samples, tokens, entries), a token's relevance is the sum over its entries.

        Parameters
        ----------
        labels : list of str, list of lists, dict, optional
            The tokens of one sample or of each, or a vocabulary {id: token}. None: ids, or positions.
        path : path, optional
            Where to write it too: .html, or what matplotlib writes (.png, .pdf, .svg ...).
        sample : int or ints, optional
            Which samples. None: all, up to 20.
        name : str, optional
            Which input, where there are several; or an inner value in `layers`, as a layer's hidden states.
        time_first : bool, optional
            Whether the first axis is time, the second the batch. None: where the samples are proven to be.

        Returns
        -------
        Picture
            With `html()`, `figure()` and `save(path)`.

        """
        place = None if path is None else checks.path("path", path)
        picture: Picture = shown("tokens", self, labels, sample=sample, name=name, time_first=time_first)
        if place is not None:
            picture.save(place)
        return picture

    def layer(self, name: str) -> np.ndarray:
        """Return the relevance of an inner value by its name, or by a pattern that matches one."""
        checks.text("name", name)
        if name in self.layers:
            return self.layers[name]
        found = [k for k in self.layers if fnmatchcase(k, name)]
        if len(found) != 1:
            what = f"matches {found}" if found else f"is not in `layers`, which holds {list(self.layers)[:8]}"
            raise InputError(f"{name!r} {what}; ask for it with layers=")
        return self.layers[found[0]]

    def summed(self, name: str, keep: int | Sequence[int] = 0) -> np.ndarray:
        """Return an inner value's relevance, summed over all axes but those to keep.

        `keep=(0, 1)` is one number for each channel of a convolution or neuron of a dense layer, and for each head of
        attention weights (samples, heads, queries, keys); `keep=(0, 2)` for each feature of a sequence; `keep=0` the
        sum of each sample.
        """
        R = self.layer(name)
        listed = keep if isinstance(keep, tuple | list) else (keep,)
        kept = tuple(checks.whole("keep: an axis", a) for a in listed)
        if not all(-R.ndim <= a < R.ndim for a in kept):
            raise InputError(f"keep={checks.shown(keep)} is out of range for {name!r} of the shape {R.shape}")
        left = {a % R.ndim for a in kept}
        total: np.ndarray = R.sum(axis=tuple(a for a in range(R.ndim) if a not in left))
        return total

    def per_head(self, name: str, heads: int, axis: int = -1) -> np.ndarray:
        """Return the relevance (samples, heads) of an inner value whose `axis` holds the heads one after the other.

        Such are queries, keys, values and what the heads give, before it is projected: (samples, tokens, features).
        """
        R, heads, axis = self.layer(name), checks.whole("heads", heads), checks.whole("axis", axis)
        if not -R.ndim <= axis < R.ndim or not 1 <= heads <= R.shape[axis] or R.shape[axis] % heads:
            raise InputError(f"axis {axis} of {name!r} of the shape {R.shape} does not fall into {heads} heads")
        last = np.moveaxis(R, axis, -1)
        split = last.reshape(*last.shape[:-1], heads, -1)
        total: np.ndarray = split.sum(axis=tuple(a for a in range(split.ndim) if a not in (0, split.ndim - 2)))
        return total

    def save(self, path: str | Path) -> Path:
        """Write everything to one .npz file (beside, then renamed). Rules are kept as text.

        Keys: relevance/<input>, in/<input>, out, layer/<value>, uncertainty/<either>, and `meta`, a JSON text;
        docs/security.md says what stands for a name that cannot be part of a key. Raises InputError where it cannot be written.
        """
        if self.output.dtype == object:
            raise InputError(
                "fractions are not saved: their digits have no bound; save the nearest floats, e.rounded().save(path)"
            )
        kept: Any = (_as_text(self.rules) if f.name == "rules" else getattr(self, f.name) for f in fields(self))
        return saved.write(named(path), Fields(*kept))

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """Read what `save` wrote.

        Raises InputError, which says what is wrong, for a file that is no saved explanation: nothing in it is run, and all
        of it is checked. Raises TooLarge for one beyond `reflrp.limits.MEMORY`.
        """
        return cls(*saved.read(named(path)))

    @classmethod
    def concatenate(cls, parts: Sequence[Explanation], axes: Mapping[str, int] | None = None) -> Explanation:
        """Return the explanations of the cuts of one batch as one.

        Inputs are put together where samples are proven to be, else on the first axis, which must be as long as there are
        samples; `axes` says it of inner values. Raises InputError where that does not hold.
        """
        listed: Any = parts
        if not isinstance(listed, Sequence) or not listed or not all(isinstance(p, Explanation) for p in listed):
            raise checks.refuse("parts", parts, "a list of explanations")
        check_parts(parts)
        given = checks.mapping("axes", {} if axes is None else axes, "a dict of axes by the value's name")
        places = {k: checks.whole(f"axes[{k!r}]", axis) for k, axis in given.items()}
        if len(parts) == 1:
            return parts[0]
        ledger, (names, more) = parts[0].conservation, all_layers(parts)
        for part in parts[1:]:
            ledger = ledger + part.conservation
        return cls(
            relevances(parts),
            joined("the output", [p.output for p in parts]),
            tuple(t for p in parts for t in p.target),
            {k: inner(k, parts, places.get(k)) for k in names},
            ledger,
            {name: rule for p in reversed(parts) for name, rule in p.rules.items()},
            tuple(dict.fromkeys((*(note for p in parts for note in p.notes), *more))),
            inputs(parts),
            layout_of(parts, places),
            parts[0].score,
            tuple(dict.fromkeys(text for p in parts for text in p.advice)),
            bars(parts, names, places),
            parts[0].init if len({p.init for p in parts}) == 1 else "",
        )


def _as_text(rules: Mapping[str, Rule | str]) -> dict[str, str]:
    return {k: v if isinstance(v, str) else repr(v) for k, v in rules.items()}
