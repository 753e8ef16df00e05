"""Builders of com.microsoft's attentions: two products with a softmax between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays.tracing.dims import is_open
from reflrp.importer.builders.microsoft import MS, rotated
from reflrp.importer.decompose import call, one
from reflrp.importer.observed import observed
from reflrp.importer.site import Items, Made, Ref, Site, Unbuildable, builds, sized


def _heads(site: Site, x: Any, heads: int, part: str) -> Any:
    """Return (batch, time, entries) as (batch, heads, time, entries a head)."""
    batch, time, entries = x.shape
    if entries % heads:
        raise Unbuildable(f"{entries} entries do not fall into {heads} heads")
    split = one(call(site, "Reshape", x, [batch, time, heads, entries // heads], part=f"{part}.heads"))
    return one(call(site, "Transpose", split, perm=[0, 2, 1, 3], part=part))


def _shared(site: Site, x: Any, heads: int, part: str) -> Any:
    """Return keys or values with each head repeated for the queries that share it."""
    batch, own, time, entries = x.shape
    if own == heads:
        return x
    if heads % own:
        raise Unbuildable(f"{heads} heads do not share {own}")
    wide = one(call(site, "Unsqueeze", x, [2], part=f"{part}.one"))
    wide = one(call(site, "Expand", wide, [batch, own, heads // own, time, entries], part=f"{part}.shared"))
    return one(call(site, "Reshape", wide, [batch, heads, time, entries], part=f"{part}.all"))


def attend(site: Site, q: Any, k: Any, v: Any, biases: list[Any], softcap: float = 0.0) -> Made:
    """Return softmax(scale q k' + biases) v, with the heads side by side again: (batch, time, heads x entries)."""
    batch, heads, time, size = q.shape
    k, v = _shared(site, k, heads, "k"), _shared(site, v, heads, "v")
    z = one(call(site, "MatMul", q, one(call(site, "Transpose", k, perm=[0, 1, 3, 2], part="k.turned")), part="scores"))
    scale = float(site.attr("scale", 0.0)) or size**-0.5
    z = one(call(site, "Mul", z, scale, part="scaled"))
    if softcap:
        z = one(call(site, "Tanh", one(call(site, "Mul", z, 1 / softcap, part="cap.in")), part="cap.tanh"))
        z = one(call(site, "Mul", z, softcap, part="cap"))
    for i, bias in enumerate(biases):
        z = one(call(site, "Add", z, bias, part=f"mask{i}"))
    p = one(call(site, "Softmax", z, axis=-1, part="softmax"))
    y = one(call(site, "MatMul", p, v, part="weighted"))
    y = one(call(site, "Transpose", y, perm=[0, 2, 1, 3], part="turned"))
    return call(site, "Reshape", y, [batch, time, heads * v.shape[-1]])


def _causal(rows: int, columns: int) -> np.ndarray:
    """Return 0 where a query may look, else -inf: the first query sees the first key, the second two, and so on.

    The last one sees all, also where there are more keys than queries: so has it onnxruntime, on the CPU.
    """
    sized((rows, columns))
    ahead = (np.arange(columns)[None, :] > np.arange(rows)[:, None]) & (np.arange(rows)[:, None] < rows - 1)
    return np.where(ahead, np.float32(-np.inf), np.float32(0))


def _padding(site: Site, mask: Any, columns: int) -> Any:
    """Return what a mask adds to the scores: 0 for what counts, the fill value for padding."""
    fill = np.float32(site.attr("mask_filter_value", -10000.0))
    if len(mask.shape) == 1:
        if isinstance(mask, Ref) and mask.shape[0] < 1:
            raise Unbuildable("its mask is empty")
        rows = one(call(site, "Reshape", mask, [-1, 1], part="lengths"))
        seen = one(call(site, "Less", np.arange(columns, dtype=np.int32)[None, :], rows, part="seen"))
    else:
        seen = one(call(site, "Cast", mask, to=9, part="seen"))
    shape = {2: [1, 2], 3: [1], 4: []}[len(seen.shape)]
    seen = one(call(site, "Unsqueeze", seen, shape, part="seen.all")) if shape else seen
    return one(call(site, "Where", seen, np.float32(0), fill, part="padding"))


@builds("Attention", domain=MS)
def attention(site: Site) -> Any:
    """Self-attention with its projection: one matrix gives queries, keys and values."""
    x, heads = site.arg(0), site.needed("num_heads")
    if site.has(4) or site.attr("do_rotary", 0):
        raise Unbuildable("keys of the past, and rotary embeddings inside, are not served")
    z = one(call(site, "MatMul", x, site.arg(1), part="product" if site.has(2) else "projected"))
    z = one(call(site, "Add", z, site.arg(2), part="projected")) if site.has(2) else z
    sizes = [int(n) for n in site.attr("qkv_hidden_sizes") or [z.shape[2] // 3] * 3]
    q, k, v = (_heads(site, p, heads, "qkv"[i]) for i, p in enumerate(_split(site, z, sizes)))
    time = x.shape[1]
    biases: list[Any] = [_causal(time, time)] if site.attr("unidirectional", 0) else []
    if site.has(3):
        biases.append(_padding(site, _plain_lengths(site.arg(3), x.shape[0]), time))
    if site.has(5):
        biases.append(site.arg(5))
    return attend(site, q, k, v, biases), None


def _plain_lengths(mask: Any, batch: int) -> Any:
    if len(mask.shape) == 1 and mask.shape[0] != batch:
        raise Unbuildable("a mask of first and last positions is not served")
    return mask


def _split(site: Site, z: Any, sizes: list[int]) -> Any:
    made = call(site, "Split", z, sizes, axis=2, outputs=3, part="split", opset=13)
    assert isinstance(made, tuple)
    return made


@builds("MultiHeadAttention", domain=MS)
def multi_head_attention(site: Site) -> Any:
    """Attention of given queries, keys and values."""
    heads = site.needed("num_heads")
    if any(site.has(i) for i in range(6, len(site.args))) or not site.has(1) or not site.has(2):
        raise Unbuildable("packed queries, and keys of the past, are not served")
    parts = [site.arg(i) for i in range(3)]
    if site.has(3):
        ends = np.cumsum([p.shape[-1] if len(p.shape) == 3 else p.shape[1] * p.shape[3] for p in parts])
        biases = np.split(np.asarray(site.const(3)), ends[:-1])
        parts = [one(call(site, "Add", parts[i], biases[i], part=f"bias{i}")) for i in range(3)]
    q, k, v = (p if len(p.shape) == 4 else _heads(site, p, heads, "qkv"[i]) for i, p in enumerate(parts))
    added: list[Any] = [_causal(q.shape[2], k.shape[2])] if site.attr("unidirectional", 0) else []
    if site.has(4):
        added.append(_padding(site, _plain_lengths(site.arg(4), q.shape[0]), k.shape[2]))
    if site.has(5):
        added.append(site.arg(5))
    return attend(site, q, k, v, added), None, None


@builds("GroupQueryAttention", domain=MS)
def group_query_attention(site: Site) -> Any:
    """Causal attention in which several queries share keys and values, with the keys and values of earlier calls."""
    heads, shared = site.needed("num_heads"), site.needed("kv_num_heads")
    _check_sizes(site)
    if site.attr("smooth_softmax", 0) or site.has(11):
        raise Unbuildable("a smooth softmax is not served")
    if site.has(1) and site.has(2):
        parts = [site.arg(i) for i in range(3)]
    else:
        size = site.arg(0).shape[2] // (heads + 2 * shared)
        parts = list(_split(site, site.arg(0), [heads * size, shared * size, shared * size]))
    counts = (heads, shared, shared)
    q, k, v = (_heads(site, parts[i], counts[i], "qkv"[i]) for i in range(3))
    cache = _past(site, q.shape[2])
    if site.attr("do_rotary", 0):
        places = site.arg(9) if site.has(9) else cache.computed(site, cache.positions, "positions")
        tables = site.arg(7), site.arg(8)
        q = one(rotated(site, q, places, *tables, None, "q.rotary"))
        k = one(rotated(site, k, places, *tables, None, "k.rotary"))
    window = int(site.attr("local_window_size", -1))
    added: list[Any] = [cache.computed(site, partial(cache.hidden, window=window), "visible")]
    if site.has(10):
        if cache.past:
            raise Unbuildable("a bias of the scores together with keys of the past is not served")
        added.append(site.arg(10))
    present = [_present(site, cache, new, i) for i, new in ((3, k), (4, v))]
    if cache.past:
        k, v = (one(call(site, "Concat", site.arg(i), new, axis=2, part=f"{i}.all")) for i, new in ((3, k), (4, v)))
    return attend(site, q, k, v, added, float(site.attr("softcap", 0.0))), *present


def _check_sizes(site: Site) -> None:
    """Raise Unbuildable for open lengths, and for lengths of the keys that are not one a sample."""
    if any(is_open(a.shape) for a in site.args if a is not None and not isinstance(a, Items)):
        raise Unbuildable(
            "which keys a query sees is worked out for a fixed batch size and fixed lengths alone: fix all of them"
        )
    batch, lengths = site.arg(0).shape[0], site.arg(5)
    if prod(lengths.shape) != batch:
        raise Unbuildable(
            f"its seqlens_k has the shape {tuple(lengths.shape)}, where it must have one for each of {batch} samples"
            + (": the file has them for that batch size alone" if isinstance(lengths, np.ndarray) else "")
        )


@dataclass(frozen=True)
class Past:
    """What a GroupQueryAttention knows of earlier calls.

    `past` of the keys in front are earlier ones, of which a sample uses the first `lengths + 1 - time`; `time` are new.
    `lengths` is seqlens_k: for each sample, the number of keys in all, less one.
    """

    past: int
    time: int
    total: int
    lengths: Any

    def computed(self, site: Site, function: Callable[[np.ndarray], np.ndarray], part: str) -> Any:
        """Return what a function gives for the lengths, which may be known only in the run."""
        if isinstance(self.lengths, np.ndarray):
            return function(self.lengths)
        return observed(site, function, (self.lengths,), part)

    def before(self, lengths: np.ndarray) -> np.ndarray:
        """Return how many earlier keys each sample uses, (batch, 1)."""
        counts = np.ravel(lengths).astype(np.int64)[:, None] + 1
        return np.maximum(counts - self.time, 0) if self.past else 0 * counts

    def positions(self, lengths: np.ndarray) -> np.ndarray:
        """Return the position of each new key and query, (batch, time)."""
        return self.before(lengths) + np.arange(self.time)

    def hidden(self, lengths: np.ndarray, window: int) -> np.ndarray:
        """Return 0 where a query may look, else -inf: (batch, 1, time, past + time)."""
        before, last = self.before(lengths), np.ravel(lengths).astype(np.int64)[:, None, None]
        earlier = np.broadcast_to(np.arange(self.past), (len(before), self.past))
        keys = np.concatenate([earlier, self.positions(lengths)], axis=1)[:, None, :]
        ahead = keys - self.positions(lengths)[:, :, None]
        seen = (ahead <= 0) & (keys <= last) & ((ahead > -window) if window > 0 else True)
        seen[:, :, : self.past] &= (earlier < before)[:, None, :]
        return np.where(seen, np.float32(0), np.float32(-np.inf))[:, None]

    def rows(self, lengths: np.ndarray, size: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return where each key for the next call lies among `size` earlier ones, the new ones, and a blank, as `shape`."""
        places, before = np.arange(self.total)[None, :], self.before(lengths)
        fresh = (places >= before) & (places < before + self.time)
        found = np.where(fresh, size + places - before, np.where(places < before, places, size + self.time))
        return np.broadcast_to(found[:, None, :, None], shape)


def _past(site: Site, time: int) -> Past:
    size = site.arg(3).shape[2] if site.has(3) else 0
    total = site.arg(6)
    if size and isinstance(total, Ref):
        raise Unbuildable(f"its total_sequence_length ({total.name!r}) is an input of the model; make it a constant")
    count = int(np.asarray(total).item()) if isinstance(total, np.ndarray) else time
    return Past(size if count != time else 0, time, max(count, size), site.arg(5))


def _present(site: Site, cache: Past, new: Any, i: int) -> Any:
    """Return the keys or values for the next call: each sample's earlier ones, the new ones, and what lay behind."""
    size = site.arg(i).shape[2] if site.has(i) else 0
    if not size:
        return new
    batch, heads, _, entries = new.shape
    blank = np.zeros((batch, heads, 1, entries), np.float32)
    whole = one(call(site, "Concat", site.arg(i), new, blank, axis=2, part=f"{i}.joined"))
    rows = partial(cache.rows, size=size, shape=(batch, heads, cache.total, entries))
    return call(site, "GatherElements", whole, cache.computed(site, rows, f"{i}.index"), axis=2, part=f"{i}.present")
