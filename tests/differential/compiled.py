"""What `reflrp.compile` makes of a case, run by onnxruntime, against the engine in float64: at two sizes and more.

How far the two may be apart is observed: `FACTOR` times what float32 moves (NumPy's own explanation in float32, and shakes of the
inputs), and `PART` of the largest entry. Where that is more than `LOOSE` of the largest entry, or where the answer in float64
jumps when all inner values are shaken, there is no second answer, and the case counts as not compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from onnx import ModelProto

import reflrp
from differential import rules
from differential.case import Case
from differential.evaluate import Failed, close, run
from differential.forward import Fault
from differential.trial import Trial, blamed
from reflrp.composites import Composite, preset

PART, FACTOR, LOOSE = 1e-3, 50, 0.05

SHAKE = 1e-6
"""How far values are shaken, relative to each."""

SHAKES = 2
"""How many shakes of the inputs the bound is made of; to see a jump there are four times as many."""

ODD = 0x9E3779B97F4A7C15
"""A multiplier that mixes the bits of a number."""

OPSETS = (None, None, 17, 18, 21, 22)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Way:
    """One way to compile a file. Values are named as the outputs of the compiled graph: `relevance/x`, `layer/h`."""

    proto: ModelProto
    title: str
    composite: Composite
    output: str
    strip: bool
    opset: int | None
    derived: Any

    @property
    def words(self) -> str:
        return f"{self.title}, opset {self.opset}, strip={self.strip}, derived={self.derived!r}"

    @cached_property
    def model(self) -> reflrp.Model:
        return reflrp.load(self.proto)

    def explainer(self, dtype: str = "float64") -> reflrp.Explainer:
        return reflrp.Explainer(self.model, self.composite, output=self.output, strip=self.strip, dtype=dtype)

    def explained(self, feeds: Arrays, init: np.ndarray, dtype: str = "float64") -> Arrays:
        """Return what the engine gives."""
        e = self.explainer(dtype)(feeds, init=init, layers=True)
        return {f"relevance/{k}": R for k, R in e.relevances.items()} | {f"layer/{k}": R for k, R in e.layers.items()}

    @cached_property
    def compiled(self) -> ModelProto:
        return reflrp.compile(
            self.proto, self.composite, init="input", output=self.output, layers=True, opset=self.opset,
            derived=self.derived, strip=self.strip,
        )  # fmt: skip

    @cached_property
    def session(self) -> Any:
        return optimised(self.compiled)

    @cached_property
    def itself(self) -> Any:
        return optimised(self.proto)

    @property
    def outputs(self) -> list[str]:
        return [o.name for o in self.proto.graph.output]

    @staticmethod
    def given(session: Any, feeds: Arrays) -> Arrays:
        """Return the inputs that a session takes."""
        return {i.name: feeds[i.name] for i in session.get_inputs()}

    def found(self, feeds: Arrays, init: np.ndarray) -> Arrays:
        """Return what the compiled graph gives."""
        outputs = self.session.run(None, self.given(self.session, {**feeds, "init": init}))
        return dict(zip([o.name for o in self.session.get_outputs()], outputs, strict=True))

    def limits(self, feeds: Arrays) -> bool:
        """Return whether the lengths of inputs are among those that the compiled graph says it is for."""
        said = {p.key: p.value for p in self.compiled.metadata_props}.get("reflrp.lengths", "")
        ports = {i.name: i.type.tensor_type.shape.dim for i in self.proto.graph.input}
        known = {
            d.dim_param: n for k, a in feeds.items() for d, n in zip(ports[k], a.shape, strict=True) if d.dim_param
        }
        return all(eval(c, {"__builtins__": {}, "floor": math.floor}, known) for c in said.split(", ") if c)


def optimised(proto: ModelProto) -> Any:
    """Return a session as users have it, with all of onnxruntime's optimisations; on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def way(t: Trial, salt: int, proto: ModelProto) -> Way:
    """Return one of the ways to compile a file."""
    rng = t.rng(salt)
    title = str(rng.choice(rules.PRESETS)) if rng.random() < 0.5 else "random"
    composite = rules.composite(rng, alone=True) if title == "random" else preset(title)
    opset = OPSETS[int(rng.integers(len(OPSETS)))]
    opset = None if (opset or 0) < t.case.opset else opset
    return Way(proto, title, composite, t.output, bool(rng.integers(2)), opset, str(rng.choice(["graph", "stored"])))


def opened(case: Case, axes: Sequence[int]) -> ModelProto:
    """Return a case's file with the lengths of these axes of its inputs open, each by a name of its own."""
    proto = case.model()
    for port in proto.graph.input:
        for axis, dim in enumerate(port.type.tensor_type.shape.dim):
            if axis in axes:
                dim.dim_param = f"{port.name}_{axis}"
    return proto


def openable(case: Case, rng: np.random.Generator) -> list[int]:
    """Return the axes, but the first one, along which onnxruntime computes the network at another length, too."""
    proto, found = opened(case, range(1, 9)), []
    for axis in range(1, max(a.ndim for a in case.feeds.values())):
        try:
            run(proto, others(case, rng, axis, lambda n: n + 1))
        except Exception:
            continue
        found.append(axis)
    return found


def others(case: Case, rng: np.random.Generator, axis: int, n: Callable[[int], int]) -> Arrays:
    """Return inputs of other lengths along an axis, of each one's own entries: with its signs, its zeros and its ties."""
    shapes = {k: tuple(n(m) if i == axis else m for i, m in enumerate(a.shape)) for k, a in case.feeds.items()}
    return {k: rng.choice(a.ravel(), shapes[k]).astype(a.dtype) for k, a in case.feeds.items()}


def sizes(case: Case, rng: np.random.Generator, axes: Sequence[int]) -> Iterator[tuple[str, Arrays]]:
    """Yield inputs: the case's own; one sample, and more, or others of the same shapes; other lengths of each axis."""
    more = case.count + int(rng.integers(1, 3))
    yield "own", case.feeds
    if case.dynamic:
        yield "one sample", case.sample(0)
        yield f"{more} samples", others(case, rng, 0, lambda _: more)
    else:
        yield "others", others(case, rng, -1, lambda n: n)
    for axis in axes:
        yield f"axis {axis} longer", others(case, rng, axis, lambda n: n + int(rng.integers(1, 4)))
        yield f"axis {axis} shorter", others(case, rng, axis, lambda n: max(n - 1, 1))


def moved(a: np.ndarray, salt: int) -> np.ndarray:
    """Return floating numbers, each shaken a little. Equal numbers stay equal and zeros are kept, as rounding keeps them."""
    if a.dtype.kind != "f":
        return a
    bits = np.ascontiguousarray(a, np.float64).view(np.uint64)
    mixed = (bits ^ (bits >> np.uint64(29)) ^ np.uint64(salt * ODD % 2**64)) * np.uint64(ODD)
    part = (mixed >> np.uint64(11)).astype(np.float64) / 2**52 - 1
    return (a * (1 + SHAKE * part.reshape(a.shape))).astype(a.dtype)


def jumps(w: Way, at: Size, name: str, far: float) -> bool:
    """Return whether an answer in float64 moves about as far as it is off when all inner values are shaken, or the inputs alone."""
    program = w.explainer().program(at.feeds)
    wide = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in at.feeds.items()}
    end = program.graph.resolve(program.graph.outputs[0])
    active = {k for k, v in program.graph.values.items() if v.active}

    def back(values: Any) -> Any:
        R = program.backward(dict(values), {end: at.init.astype(np.float64)}, keep=lambda _: True)[0]
        return np.asarray(R.get(name.partition("/")[2], 0.0))

    def shaken() -> Iterator[Any]:
        for salt in range(1, 4 * SHAKES + 1):
            yield {k: moved(a, salt) if k in active else a for k, a in values.items()}
            yield program.forward({k: moved(a, salt) for k, a in wide.items()})

    values = program.forward(wide)
    want = back(values)
    return any(np.abs(back(v) - want).max(initial=0) > far / 10 for v in shaken())


@dataclass(frozen=True)
class Size:
    """Inputs of some size, and a seed of relevance for each entry of the output."""

    label: str
    feeds: Arrays
    init: np.ndarray


@dataclass(frozen=True)
class Forward:
    """The model's own outputs without optimisations, and what they are where the inputs are shaken."""

    outputs: Arrays
    again: Arrays

    def same(self, found: Arrays) -> bool:
        """Return whether others are the same but for rounding."""
        slack = {k: FACTOR * float(np.abs(self.again[k] - a).max(initial=0)) + 1e-6 for k, a in self.outputs.items()}
        return all(close(found[k], a, PART, slack[k]) for k, a in self.outputs.items())


def forward(w: Way, feeds: Arrays) -> Forward | str:
    """Return what onnxruntime makes of the model itself, or why that is no answer."""
    try:
        ways = [run(w.proto, x) for x in (feeds, {k: moved(a, 1) for k, a in feeds.items()})]
    except Exception:
        return "not a size of the model"
    found = Forward(*(dict(zip(w.outputs, x, strict=True)) for x in ways))
    try:
        if found.same(dict(zip(w.outputs, w.itself.run(None, w.given(w.itself, feeds)), strict=True))):
            return found
    except Exception:
        return "onnxruntime's optimisations break the model itself"
    return "onnxruntime's optimisations change the model itself"


def compared(t: Trial, check: str, w: Way, label: str, feeds: Arrays) -> str:
    """Compare at one size, and say how that ended."""
    itself = forward(w, feeds)
    if isinstance(itself, str):
        return itself
    at = Size(label, feeds, t.rng(14).normal(size=itself.outputs[w.output].shape).astype(np.float32))
    try:
        ways = [w.explained(feeds, at.init), w.explained(feeds, at.init, "float32")]
        ways += [w.explained({k: moved(a, s) for k, a in feeds.items()}, at.init) for s in range(1, SHAKES + 1)]
    except reflrp.NonFiniteError:
        return "not finite"
    except reflrp.ReflrpError:
        return "explain refuses a size"
    try:
        found = w.found(feeds, at.init)
    except Exception as error:
        if not w.limits(feeds):
            return "not a length of the graph"
        raise Fault(check, blamed(t), f"{label}, {w.words}: the compiled graph fails: {error}") from error
    if not itself.same(found):
        raise Fault(check, blamed(t), f"{label}, {w.words}: the compiled graph has other outputs than the model")
    ends = [judged(t, check, w, at, k, found, [x[k] for x in ways]) for k in ways[0]]
    return next((end for end in ends if end != "same"), "same")


def judged(t: Trial, check: str, w: Way, at: Size, name: str, found: Arrays, ways: list[np.ndarray]) -> str:
    """Say whether one value's relevance is the engine's."""
    label = f"{at.label} {name}, {w.words}"
    if name not in found:
        if name.startswith("relevance/"):
            raise Fault(check, blamed(t), f"{label}: it is not there")
        return "same"
    got, (R, *others) = found[name].astype(np.float64), ways
    if got.shape != R.shape or not np.isfinite(got).all():
        raise Fault(check, blamed(t), f"{label}: {got.shape} {got.ravel()[:5]}, not {R.shape} {R.ravel()[:5]}")
    far, most = np.abs(got - R).max(initial=0), np.abs(R).max(initial=0)
    slack = FACTOR * sum(np.abs(a - R).max(initial=0) for a in others)
    if far <= PART * most + min(slack, LOOSE * most) + 1e-9:
        return "same"
    if far <= slack or jumps(w, at, name, far):
        return "on an edge"
    detail = f"{label}: {got.ravel()[:5]}, not {R.ravel()[:5]}; {far:.2g} off, {slack:.2g} by rounding"
    raise Fault(check, blamed(t), detail)


def check_compiled(t: Trial) -> str:
    """The compiled graph, with its batch size open where the file leaves it open."""
    return at_sizes(t, "compiled", way(t, 12, t.case.model()), ())


def check_lengths(t: Trial) -> str:
    """The compiled graph of a file that leaves all lengths open that may be others."""
    axes = openable(t.case, t.rng(16))
    return at_sizes(t, "lengths", way(t, 13, opened(t.case, axes)), axes) if axes else "no length may be another"


def at_sizes(t: Trial, check: str, w: Way, axes: Sequence[int]) -> str:
    """Compare at all sizes; the same is what is so at two, and on an edge at none."""
    w.explainer()(t.case.feeds)
    try:
        w.itself  # noqa: B018
    except Exception:
        return "onnxruntime does not open the model itself"
    try:
        w.session  # noqa: B018
    except Exception as error:
        if type(error).__name__ == "NotImplemented":
            raise Failed(f"onnxruntime has no kernel: {str(error)[:200]}") from error
        raise
    ends = [compared(t, check, w, label, feeds) for label, feeds in sizes(t.case, t.rng(15), axes)]
    if "on an edge" in ends:
        return "on an edge"
    rest = sorted({end for end in ends if end != "same"})
    return "same" if ends.count("same") > 1 else f"at {ends.count('same')} sizes: {', '.join(rest)}"
