"""What captum's hooks on tensors make of the rules.

captum does not work layer by layer. It divides by z' in a hook on a layer's output tensor, and multiplies by a in a hook
on its input tensor, which sees all that comes back to that tensor. While a value has one reader, the two make the rule.
Where it has several, hooks run in the order in which the readers ran:

- the first reader that is a layer with a rule multiplies all that has come back by the value, whichever way it came; with
  IdentityRule it puts its own relevance in the place of all that has come back;
- a ReLU, Tanh or Dropout puts the relevance of its output in the place of all that has come back;
- a function, which has no hook, is a plain gradient.

And what a ReLU, Tanh or Dropout puts there is not always what stands at its output after all hooks: it is what came back
before them, and after the first of them only where that multiplies. So in front of another such layer it is a plain
gradient, and right behind IdentityRule it is not what that rule says.

Each reader's way back, worked out here:

==============  =================================================
"times"         its gradient of R / st(z') or R, times the value
"raw"           its gradient of R / st(z') or R
"pass"          the relevance of its output
"pass times"    the relevance of its output, times the value
"drop"          nothing
==============  =================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

from reflrp.dialects.captum.rules import CaptumRule, Hooked, IdentityRule, Overwritten, TimesInput, Way
from reflrp.errors import RuleError
from reflrp.ground.caches import Kept
from reflrp.ir import Graph, Node
from reflrp.passes.readers import READ
from reflrp.rules.base import Rule
from reflrp.rules.other import Gradient, Pass

NON_LINEAR = ("pointwise", "product", "max", "normaliser")
"""Kinds whose gradient depends on their input."""


@dataclass(frozen=True, eq=False)
class Modules:
    """The nodes of a graph as captum sees them: layers with rules, activations (ReLU, Tanh), and functions."""

    graph: Graph
    layers: Mapping[str, CaptumRule]
    activations: frozenset[str]

    def rules(self) -> dict[str, Rule]:
        """Return the rule of each layer, each activation, and each node that `part_readers` made."""
        self._check_values()
        self._check_order()
        found: dict[str, Rule] = {}
        for node in self.graph.nodes:
            if node.op_type == READ:
                found[node.name] = self._on_read(node)
            elif node.name in self.layers:
                found[node.name] = self._on_layer(node, self.layers[node.name])
            elif node.name in self.activations:
                passes = self._ways[self.value(node.inputs[0]), node.name] not in ("raw", "times")
                found[node.name] = Pass() if passes else Gradient()
        return found

    def plain(self) -> dict[str, Rule]:
        """Return the rules of functions of one value that have one; elsewhere each layer keeps its own."""
        return {
            n.name: Hooked(rule, ("pass" if isinstance(rule, IdentityRule) else "times",))
            for n in self.graph.nodes
            if (rule := self.layers.get(n.name)) and n.kind in ("pointwise", "normaliser")
        }

    def _on_read(self, node: Node) -> Rule:
        reader = self._reader_of[node.output]
        way = self._ways[node.inputs[0], reader]
        if way == "drop":
            return Overwritten()
        return TimesInput() if "times" in way and reader not in self.layers else Pass()

    def _on_layer(self, node: Node, rule: CaptumRule) -> Rule:
        ways = tuple(self._ways.get((self.value(i), node.name), "times") for i in node.inputs)
        ways = tuple("times" if way == "drop" else way for way in ways)
        own = "pass" if isinstance(rule, IdentityRule) else "times"
        as_it_is = set(ways) == {own} and node.kind not in ("pointwise", "normaliser")
        return rule if as_it_is else Hooked(rule, ways)

    @Kept
    def _reader_of(self) -> dict[str, str]:
        """For each value that `part_readers` made, the name of the node that reads it."""
        made = {node.output for node in self.graph.nodes if node.op_type == READ}
        return {v: node.name for node in self.graph.nodes for v in node.inputs if v in made}

    @Kept
    def _behind(self) -> dict[str, str]:
        """For each value that `part_readers` made, the value that it is."""
        return {node.output: node.inputs[0] for node in self.graph.nodes if node.op_type == READ}

    def value(self, name: str) -> str:
        """Return the value that a node reads, also through a node of `part_readers`."""
        return self._behind.get(name, name)

    def keeps(self, value: str, reader: str) -> bool:
        """Return whether captum keeps, with this reader, what a value's relevance is in the end."""
        hooks = self._hooks(self.readers[value])
        own = [n for n, (what, i) in enumerate(hooks) if what == "multiply" and self.readers[value][i] == reader]
        return own != [] and not any(what == "replace" for what, _ in hooks[own[0] + 1 :])

    @Kept
    def readers(self) -> dict[str, list[str]]:
        """For each value, the names of the nodes that read it, in the order in which they run."""
        found: dict[str, list[str]] = {}
        for node in self.graph.nodes:
            if node.op_type != READ and self.graph.values[node.output].active:
                for value in dict.fromkeys(map(self.value, node.inputs)):
                    found.setdefault(value, []).append(node.name)
        return found

    @Kept
    def _ways(self) -> dict[tuple[str, str], Way]:
        """For each value and each reader of it, the way back."""
        makers = {node.output: node for node in self.graph.nodes if node.name in self.activations}
        found: dict[tuple[str, str], Way] = {}
        for value in [*self.graph.inputs, *(node.output for node in self.graph.nodes)]:
            readers, maker = self.readers.get(value, []), makers.get(value)
            passes = maker is not None and "pass" in found[self.value(maker.inputs[0]), maker.name]
            ways = self._handed_on(readers) if passes else self._arrived(readers)
            found.update({(value, reader): way for reader, way in zip(readers, ways, strict=True)})
        return found

    def _hooks(self, readers: list[str]) -> list[tuple[str, int]]:
        """Return the hooks on a value, in order: ("multiply" or "replace", the reader's place)."""
        hooks, hooked = list[tuple[str, int]](), False
        for i, reader in enumerate(readers):
            if reader in self.activations:
                hooks.append(("replace", i))
            elif reader in self.layers and not hooked:
                hooked = True
                hooks.append(("replace" if isinstance(self.layers[reader], IdentityRule) else "multiply", i))
        return hooks

    def _handed_on(self, readers: list[str]) -> list[Way]:
        """Return the ways back to the output of an activation, which takes what came before the second hook."""
        first = next(iter(self._hooks(readers)), ("", 0))[0]
        return ["times" if first == "multiply" else "raw"] * len(readers)

    def _arrived(self, readers: list[str]) -> list[Way]:
        """Return the ways back to any other value, which takes what all hooks made of it."""
        hooks = self._hooks(readers)
        last = max((n for n, (what, _) in enumerate(hooks) if what == "replace"), default=-1)
        times = any(what == "multiply" for what, _ in hooks[last + 1 :])
        if last < 0:
            return ["times" if times else "raw"] * len(readers)
        ways: list[Way] = ["drop"] * len(readers)
        ways[hooks[last][1]] = "pass times" if times else "pass"
        return ways

    def _check_values(self) -> None:
        """Refuse functions that captum computes at other values than the network's.

        Its second forward pass runs with changed weights, and sets values right only where layers with rules read them.
        """
        changed: set[str] = set()
        wrong = []
        for node in self.graph.nodes:
            inputs = [self.value(i) for i in node.inputs]
            if node.op_type == READ:
                continue
            if node.name in self.layers:
                changed.difference_update(inputs)
                is_changed = self.layers[node.name].reweights and node.kind in ("dense", "conv")
            else:
                is_changed = bool(changed.intersection(inputs))
                if is_changed and self._depends_on_values(node):
                    wrong.append(node)
            if is_changed:
                changed.add(node.output)
        if wrong:
            names = ", ".join(f"{n.name!r} (onnx {n.op_type})" for n in wrong)
            raise RuleError(
                f"captum computes {names} with the changed weights of GammaRule or Alpha1_Beta0_Rule on the layer before, "
                "that is, not at the network's own values; give the node a rule, or the layer before it EpsilonRule"
            )

    def _check_order(self) -> None:
        """Refuse sums where captum's answer hangs on the order in which autograd walks back.

        A sum hands one and the same tensor to all its summands, and captum writes a layer's relevance onto that tensor, for
        a ReLU, Tanh or Dropout to find. Where another summand's hook runs in between, that is what it finds.
        """
        place = {node.output: i for i, node in enumerate(self.graph.nodes)}
        made = {node.output: node for node in self.graph.nodes}
        for node in self.graph.nodes:
            if node.kind != "sum" or node.name in self._part_of_sums:
                continue
            for value, other in permutations(self._summands(node, made), 2):
                maker = made.get(value)
                if maker and maker.name in self.activations and self._meets(maker, other, made, place):
                    raise RuleError(
                        f"what captum gives to {maker.name!r} (onnx {maker.op_type}) hangs on the order in which autograd walks "
                        f"through the branches of {node.name!r}; use captum.LRP(hooks='layer'), the rules without captum's hooks"
                    )

    def _meets(self, node: Node, other: str, made: Mapping[str, Node], place: Mapping[str, int]) -> bool:
        """Return whether what is written for another summand may be what an activation finds."""
        maker = made.get(other)
        if maker and maker.name in self.activations:
            before = made.get(self.value(maker.inputs[0]))
            written_on = before is not None and before.kind == "sum" and before.name not in self.layers
            if written_on or self._ways[self.value(maker.inputs[0]), maker.name] == "pass times":
                return True
        if self._first_hook(other) != "multiply":
            return False
        end = place[node.output] if self._first_hook(node.output) == "multiply" else len(place)
        return place.get(self.value(node.inputs[0]), -1) < place.get(other, -1) < end

    def _first_hook(self, value: str) -> str:
        return next(iter(self._hooks(self.readers.get(value, []))), ("", 0))[0]

    @Kept
    def _part_of_sums(self) -> set[str]:
        """The names of sums that are functions, and summands of another sum."""
        sums = {n.output: n.name for n in self.graph.nodes if n.kind == "sum" and n.name not in self.layers}
        read = {self.value(v) for n in self.graph.nodes if n.kind == "sum" for v in n.inputs}
        return {name for value, name in sums.items() if value in read}

    def _summands(self, node: Node, made: Mapping[str, Node]) -> list[str]:
        """Return the values that a sum is made of, through sums that are functions."""
        found = list[str]()
        for value in map(self.value, node.inputs):
            maker = made.get(value)
            inner = maker is not None and maker.name in self._part_of_sums
            found += self._summands(maker, made) if maker and inner else [value]
        return list(dict.fromkeys(found))

    def _depends_on_values(self, node: Node) -> bool:
        if node.name in self.activations:
            return self._ways[self.value(node.inputs[0]), node.name] in ("raw", "times")
        return node.kind in NON_LINEAR
