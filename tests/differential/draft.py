"""A growing case: makers pick values and emit nodes, each of which onnxruntime computes at once, so that shapes are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from differential.case import Block, Case, names_read
from differential.evaluate import Failed, by_reference, by_runtime

LARGEST = 400
"""Entries that a value may have."""

BOUND = 200.0
"""What no entry may exceed, so that float32 is a fair judge."""


class Drop(Exception):
    """What was drawn does not fit here."""


class Draft:
    """Values with their numbers, and the blocks that make them."""

    def __init__(self, rng: np.random.Generator, opset: int) -> None:
        self.rng, self.opset = rng, opset
        self.values: dict[str, np.ndarray] = {}
        self.feeds: dict[str, np.ndarray] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.active: list[str] = []
        self.blocks: list[Block] = []
        self.nodes: list[NodeProto] = []
        self.literal: list[NodeProto] | None = []
        self.written: set[str] = set()
        self.layers: set[str] = set()
        self.hiding = False
        self.count = 0

    # chance

    def maybe(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def one(self, *ways: Any) -> Any:
        """Return one of the ways."""
        return ways[int(self.rng.integers(len(ways)))]

    def whole(self, low: int, high: int) -> int:
        """Return a number from low to high, both included."""
        if high < low:
            raise Drop
        return int(self.rng.integers(low, high + 1))

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape).astype(np.float32)

    def weights(self, *shape: int) -> str:
        """Return a constant of random numbers, none of them 0; now and then one that is used already."""
        same = [k for k, a in self.constants.items() if a.shape == shape and a.dtype == np.float32]
        if same and self.maybe(0.15):
            return str(self.rng.choice(same))
        fan = max(1, int(np.prod(shape[:-1])) if len(shape) < 3 else int(np.prod(shape[1:])))
        return self.const(self.normal(*shape) * min(1.0, 1.5 / np.sqrt(fan)) + np.float32(1e-3))

    # values

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def const(self, a: Any, dtype: Any = None) -> str:
        array = np.asarray(a, dtype=dtype)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = f"c{len(self.constants)}"
        self.constants[name] = self.values[name] = array
        if self.maybe(0.1):
            self.written.add(name)
        return name

    def ints(self, *numbers: int) -> str:
        return self.const(np.array(numbers, np.int64))

    def feed(self, a: np.ndarray, active: bool = True) -> str:
        name = f"x{len(self.feeds)}"
        self.feeds[name] = self.values[name] = a
        self.active += [name] * active
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def pick(self, rank: int | None = None, least: int = 0, fits: Callable[[np.ndarray], bool] | None = None) -> str:
        """Return a value that carries relevance, one of the last rather than of the first."""
        found = [
            k
            for k in self.active
            if (rank is None or self.values[k].ndim == rank)
            and self.values[k].ndim >= least
            and (fits is None or fits(self.values[k]))
        ]
        if not found:
            raise Drop
        place = len(found) - 1 - min(int(self.rng.exponential(1.2)), len(found) - 1)
        return found[place]

    def axis(self, name: str, first: int = 0) -> int:
        """Return an axis of a value, seldom the batch's."""
        rank = len(self.shape(name))
        low = first if self.maybe(0.15) else max(first, 1)
        return self.whole(min(low, rank - 1), rank - 1) if rank else self.whole(1, 0)

    def either(self, axis: int, name: str) -> int:
        """Return the axis counted from the front or from the back."""
        return axis - len(self.shape(name)) if self.maybe(0.3) else axis

    # nodes

    def emit(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node; return the names of its outputs, of which the first is enough where there is one."""
        names = [self.name() for _ in range(outputs)]
        node = helper.make_node(op, list(inputs), names, name=f"n{self.count}", domain=domain, **attributes)
        self.nodes.append(node)
        if not self.hiding and self.literal is not None:
            self.literal.append(node)
        self._compute(node)
        if any(i in self.active for i in names_read(node)):
            self.active += [k for k in names if self.values[k].dtype == np.float32]
        return names[0] if outputs == 1 else names

    def _compute(self, node: NodeProto) -> None:
        values = {k: self.values[k] for k in names_read(node)}
        try:
            found = by_runtime(node, values, self.opset, frozenset(self.constants))
        except Failed:
            try:
                found = by_reference(node, values, self.opset)
            except Failed as error:
                raise Drop(str(error)) from error
        for name, a in zip([o for o in node.output if o], found, strict=True):
            a = np.asarray(a)
            if a.dtype.kind == "f" and (not np.isfinite(a).all() or np.abs(a).max(initial=0) > BOUND):
                raise Drop("beyond bounds")
            if a.size > LARGEST or a.ndim > 6 or a.size == 0:
                raise Drop("too large, or empty")
            self.values[name] = a

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Emit nodes that the oracle does not see: `means` says what they are."""
        self.hiding = True
        try:
            yield
        finally:
            self.hiding = False

    def means(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node for the oracle only; return the name of its output."""
        output = output or f"w{self.name()[1:]}"
        if self.literal is not None:
            self.literal.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def wordless(self) -> None:
        """Say that the oracle has no words for this block."""
        self.literal = None

    def block(self, maker: Callable[[Draft], Any]) -> bool:
        """Let a maker add a block; return whether it did. What it dropped leaves nothing behind."""
        values, active, constants, count = dict(self.values), list(self.active), dict(self.constants), self.count
        feeds = dict(self.feeds)
        self.nodes, self.literal, self.hiding = [], [], False
        try:
            maker(self)
        except Drop:
            self.values, self.active, self.constants, self.count = values, active, constants, count
            self.feeds = feeds
            return False
        self._close()
        literal = None if self.literal is None else tuple(self.literal)
        self.blocks.append(Block(maker.__name__, tuple(self.nodes), literal))
        return True

    def _close(self) -> None:
        """Keep what only the nodes have from later makers; now and then let it be seen, and be without words then."""
        if self.literal is None:
            return
        told = {o for node in self.literal for o in node.output}
        inner = {o for node in self.nodes for o in node.output} - told
        if inner and self.maybe(0.1):
            self.literal = None
        else:
            self.active = [k for k in self.active if k not in inner]

    def case(self, outputs: tuple[str, ...], dynamic: bool, title: str) -> Case:
        written = frozenset(self.written & set(self.constants))
        blocks, feeds = tuple(self.blocks), dict(self.feeds)
        return Case(self.opset, blocks, feeds, dict(self.constants), outputs, dynamic, title, written).pruned()
