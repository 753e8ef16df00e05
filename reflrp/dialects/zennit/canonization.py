"""What zennit's own canonizers do to a network: which BatchNorms they merge, and which modules they add."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import numpy as np

from reflrp.dialects.living.network import first_names, modules_of
from reflrp.dialects.living.parts import Part, close
from reflrp.errors import RuleError
from reflrp.ground.checks import shown

SUMS = ("ResNetBottleneckCanonizer", "ResNetBasicBlockCanonizer")
"""They give torchvision's residual blocks a Sum, under the name `canonizer_sum`."""


def canonization(canonizers: Any, network: Any) -> tuple[Any, dict[str, str], str]:
    """Return the network with the modules that canonizers add, {layer: BatchNorm} of those that they merge, and the version.

    It is the version of zennit that merges so, "1.0.0" or "0.5.1". What is changed is a copy, which shares its parameters with
    the network.
    """
    merges, merging = list[tuple[str, str]](), list[Any]()
    adding = list[Any]()
    for canonizer in _flat(canonizers):
        kind = type(canonizer).__name__ if type(canonizer).__module__.partition(".")[0] == "zennit" else ""
        if kind in ("SequentialMergeBatchNorm", "VGGCanonizer"):
            merges += _in_a_row(canonizer, network)
            merging.append(canonizer)
        elif kind == "NamedMergeBatchNorm":
            merges += [(layer, norm) for layers, norm in canonizer.name_map for layer in layers]
            merging.append(canonizer)
        elif kind in SUMS:
            adding.append(canonizer)
        else:
            raise RuleError(
                f"the canonizer {shown(canonizer)} has no equivalent here; apply it before the export, as "
                "canonizer.apply(network), and give the composite without it"
            )
    module = network
    if adding:
        module = copy.deepcopy(network, {id(x): x for x in (*network.parameters(), *network.buffers())})
    for canonizer in adding:
        canonizer.apply(module)
    found = _once_each(merges, network)
    return module, found, _version(merging, [modules_of(network)[name] for name in found.values()])


def _version(merging: list[Any], norms: list[Any]) -> str:
    """Return the version of zennit that merges as these canonizers do: each is asked to empty a copy of each BatchNorm."""
    found = set[str]()
    for canonizer, norm in product(merging, norms):
        emptied = copy.deepcopy(norm)
        try:
            canonizer.merge_batch_norm([], emptied)
        except Exception as error:
            raise RuleError(f"{type(canonizer).__name__} cannot merge a {type(norm).__name__}: {error}") from error
        s, t = Part("", emptied).scale(rounded=False)
        left = {"1.0.0": 1.0, "0.5.1": 1 / np.sqrt(1 + float(norm.eps))}
        found |= {next((v for v, scale in left.items() if not t.any() and close(s, np.full(s.shape, scale))), "")}
    if len(found) > 1 or "" in found:
        raise RuleError(
            f"the canonizers {merging} leave of a BatchNorm neither what zennit 1.0.0 nor what 0.5.1 leaves"
        )
    return found.pop() if found else "1.0.0"


def _flat(canonizers: Any) -> Iterator[Any]:
    for canonizer in canonizers:
        inner = type(canonizer).__name__ in ("CompositeCanonizer", "ResNetCanonizer")
        yield from _flat(canonizer.canonizers) if inner else (canonizer,)


def _in_a_row(canonizer: Any, module: Any) -> list[tuple[str, str]]:
    """Return (layer, BatchNorm) for those that are registered right after one another."""
    modules = modules_of(module)
    leaves = [name for name in first_names(module).values() if not any(True for _ in modules[name].children())]
    return [
        (layer, norm)
        for layer, norm in pairwise(leaves)
        if isinstance(modules[layer], canonizer.linear_type) and isinstance(modules[norm], canonizer.batch_norm_type)
    ]


def _once_each(pairs: list[tuple[str, str]], module: Any) -> dict[str, str]:
    """Return {layer: BatchNorm}. Raises RuleError for names of no module, and where one would be merged twice."""
    unknown = sorted({name for pair in pairs for name in pair} - set(modules_of(module)))
    if unknown:
        raise RuleError(f"the network has no modules {unknown}, which a canonizer is to merge")
    twice = [name for name, count in Counter(layer for layer, _ in pairs).items() if count > 1]
    if twice:
        raise RuleError(f"the canonizers merge into {twice} more than once, which is not what the network computes")
    return dict(pairs)
