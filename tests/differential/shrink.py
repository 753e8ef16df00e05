"""A failing case made small: blocks are taken out, what they made is fed, as long as the same check fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import onnx

from differential.case import Block, Case, names_read
from differential.evaluate import narrow
from differential.forward import chain

Fails = Callable[[Case], bool]


def shrunk(case: Case, fails: Fails) -> Case:
    """Return a smaller case that fails too."""
    case = opened(case, fails)
    while True:
        smaller = next((c for c in candidates(case) if fails(c)), None)
        if smaller is None:
            return case
        case = smaller


def opened(case: Case, fails: Fails) -> Case:
    """Return the case with a block for each node, where each node is its own word."""
    blocks: list[Block] = []
    for block in case.blocks:
        plain = block.literal is not None and [n.output for n in block.literal] == [n.output for n in block.nodes]
        blocks += [Block(block.maker, (n,), (n,)) for n in block.nodes] if plain else [block]
    split = replace(case, blocks=tuple(blocks))
    return split if fails(split) else case


def candidates(case: Case) -> Iterator[Case]:
    """Yield cases with a block less, the first ones first; then those with an output, or samples, less."""
    try:
        values = {k: narrow(a) for k, a in chain(case).values.items()}
    except Exception:
        values = {}
    for i in range(len(case.blocks)) if values else ():
        yield from without(case, i, values)
    for o in case.outputs if len(case.outputs) > 1 else ():
        yield replace(case, outputs=(o,)).pruned()
    if case.count > 1 and all(len(a) == case.count for a in case.feeds.values() if a.ndim):
        yield replace(case, feeds=case.sample(0))


def without(case: Case, i: int, values: dict[str, np.ndarray]) -> Iterator[Case]:
    """Yield the case without a block: what others read of it is fed; what is an output becomes what it was made of."""
    block, rest = case.blocks[i], case.blocks[:i] + case.blocks[i + 1 :]
    read = {k for b in rest for k in b.inputs}
    wanted = [o for o in block.outputs if o in read or o in case.outputs]
    feeds, constants = dict(case.feeds), dict(case.constants)
    outputs = list(case.outputs)
    for o in wanted:
        if values[o].dtype == np.float32:
            feeds[o] = values[o]
        else:
            constants[o] = values[o]
    if any(o in outputs for o in wanted):
        sources = [k for k in block.inputs if k in values and values[k].dtype == np.float32 and k not in case.constants]
        made = [k for k in sources if any(k in b.outputs for b in rest)]
        outputs = [k for k in outputs if k not in wanted] or made[-1:]
        if not outputs:
            return
    smaller = replace(case, blocks=rest, feeds=feeds, constants=constants, outputs=tuple(outputs)).pruned()
    if smaller.blocks and len(smaller.blocks) < len(case.blocks):
        yield smaller
        yield replace(smaller, dynamic=False)


def text(case: Case) -> str:
    """Return a case to be read."""
    lines = [f"opset {case.opset}, inputs " + ", ".join(f"{k} {a.dtype}{list(a.shape)}" for k, a in case.feeds.items())]
    for block in case.blocks:
        lines += [f"    {block.maker:16} {onnx.helper.printable_node(n)}" for n in block.nodes]
    used = {k for n in case.nodes for k in names_read(n)} & set(case.constants)
    lines += [
        f"    {k} = {case.constants[k].tolist() if case.constants[k].size < 13 else case.constants[k].shape}"
        for k in sorted(used)
    ]
    return "\n".join([*lines, f"outputs {', '.join(case.outputs)}"])
