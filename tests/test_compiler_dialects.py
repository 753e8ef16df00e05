"""What explains compiles: every rule and composite of every dialect, on every kind of node, for open lengths too.

Each rule stands on all nodes that it fits, of nets that are several short branches, each from an input of its own: so what one
branch gives is compared by itself. Nothing is left out but what a refusal names.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module

import numpy as np
import pytest
from compiled import FACTOR, FLOOR, check, part, run
from models import draw, ints, model
from test_compiler_recurrent import TURNS, drawn, net

import reflrp
from reflrp import rules as r
from reflrp.composites import Composite, kind
from reflrp.composites.composite import defaults
from reflrp.composites.matchers import Matcher
from reflrp.dialects import (
    LIBRARIES,
    captum,
    innsight,
    innvestigate,
    lrp_toolbox,
    lxt,
    signxai,
    zennit,
)
from reflrp.dialects import relevance_propagation_jl as jl
from reflrp.dialects.relevance_propagation_jl.fused import Fused
from reflrp.ir import UNRULED
from reflrp.ops.pointwise import Pointwise
from reflrp.rules.base import Rule

DIALECTS = {library: import_module(f"reflrp.dialects.{library}") for library in LIBRARIES}

CLIPPED = r.Stabilizer(0.25, "clip")
GIVEN = {
    "captum.Hooked": captum.rules.Hooked(captum.EpsilonRule(), ("raw",)),
    "captum.GammaRule without bias": captum.GammaRule(0.5, True),
    "innsight.OverWindows alpha": innsight.OverWindows(alpha=2.0),
    "innsight.OverWindows epsilon": innsight.OverWindows(innsight.Epsilon(0.25, 1e-6)),
    "innvestigate.AlphaBetaIgnoreBiasRule": innvestigate.AlphaBetaIgnoreBiasRule(3, 2),
    "innvestigate.AlphaBetaRule": innvestigate.AlphaBetaRule(2, 1),
    "innvestigate.FusedBatchNormalization": innvestigate.FusedBatchNormalization(innvestigate.Alpha2Beta1Rule()),
    "lrp_toolbox.AlphaBeta 0": lrp_toolbox.AlphaBeta(0.0),
    "lrp_toolbox.AlphaBeta 1": lrp_toolbox.AlphaBeta(1.0),
    "lrp_toolbox.SumPool 0": lrp_toolbox.SumPool(alpha=0.0),
    "lrp_toolbox.SumPool 2": lrp_toolbox.SumPool(alpha=2.0, squared=True),
    "lrp_toolbox.SumPool epsilon": lrp_toolbox.SumPool(0.5),
    "lxt.Patched": lxt.Patched(zennit.Gamma(0.5)),
    "relevance_propagation_jl.Fused gamma": Fused(jl.GeneralizedGammaRule(0.5), Pointwise("relu")),
    "relevance_propagation_jl.Fused zero": Fused(jl.ZeroRule(), Pointwise("tanh")),
    "relevance_propagation_jl.ZBoxRule": jl.ZBoxRule(-4.0, 4.0),
    "rules.Epsilon clip": r.Epsilon(stabilizer=CLIPPED),
    "rules.Gamma generalized": r.Gamma(0.5, generalized=True, bias="keep"),
    "rules.ZBox": r.ZBox(-4.0, 4.0),
    "signxai.BoundedRule as released": signxai.BoundedRule(as_released=True),
    "signxai.GammaRule": signxai.GammaRule(0.5),
    "signxai.GammaRule as released": signxai.GammaRule(0.5, as_released=True),
    "zennit.AlphaBeta without weights": zennit.AlphaBeta(zero_params=["weight"]),
    "zennit.Epsilon without bias": zennit.Epsilon(0.25, zero_params=["bias"]),
    "zennit.Flat without weights": zennit.Flat(zero_params=["weight"]),
    "zennit.ZBox": zennit.ZBox(-4.0, 4.0),
}
"""Rules that need arguments, and rules with arguments by which they go other ways."""


ABSTRACT = {
    "CaptumRule", "JuliaRule", "KerasRule", "LinearRule", "Modified", "OnRelu", "Reweighting", "ZennitRule"
}  # fmt: skip
"""Classes that are bases of others only."""


ABSTRACT = {
    "CaptumRule", "JuliaRule", "KerasRule", "LinearRule", "Modified", "OnRelu", "Reweighting", "ZennitRule"
}  # fmt: skip
"""Classes that are bases of others only."""


def classes(base=Rule):
    """All classes of rules of reflrp, those of the dialects too."""
    for one in base.__subclasses__():
        yield from (one, *classes(one))


OWN = {c for c in classes() if c.__module__.startswith("reflrp.") and c.__name__ not in ABSTRACT}


def alone(one):
    """A rule of a class, if it needs no arguments."""
    try:
        return one()
    except (TypeError, reflrp.RuleError):
        return None


RULES = {f"{c.__module__.removeprefix('reflrp.').removeprefix('dialects.')}.{c.__name__}": alone(c) for c in OWN}
RULES = {name: rule for name, rule in sorted(RULES.items()) if rule is not None} | GIVEN


def test_every_class_of_rules_is_here():
    assert {type(rule) for rule in RULES.values()} == OWN


def joined(names):
    """A net of branches, each from its own input to a value (N, n), side by side."""
    branches = {name: BRANCHES[name] for name in names}
    inputs = ", ".join(f"float[{','.join(map(str, shape))}] {name}" for name, (shape, _) in branches.items())
    lines = " ".join(text.format(x=name, y=f"{name}_out") for name, (_, text) in branches.items())
    ends = ", ".join(f"{name}_out" for name in branches)
    return model(f"{lines} y = Concat <axis = 1>({ends})", inputs, opset=20, **WEIGHTS)


MEAN = "{y} = ReduceMean <keepdims = 0>({x}_z, image)"
IMAGE, ROWS = ("N", 3, "H", "W"), ("N", "T", 3)
WEIGHTS = {
    "w": (3, 4), "b": (4,), "k": (4, 3, 3, 3), "kb": (4,), "g": (3,), "gb": (3,), "gm": (3,), "image": ints(2, 3),
    "gv": draw(3) ** 2 + 0.5, "t": (3, 2, 2, 2), "tb": (2,), "dw": (3, 1, 2, 2), "steps": ints(1), "row": draw(3),
    "half": np.float32(0.5), "twelve": ints(0, 12), "v": (12, 4), "minus": ints(-1), "rows": ints(0, -1, 3),
}  # fmt: skip
OF_IMAGES = {
    "conv": "{x}_z = Conv <pads = [1, 1, 1, 1], strides = [2, 1]>({x}, k, kb) ",
    "behind": "{x}_r = Relu({x}) {x}_z = Conv <pads = [0, 1, 1, 0]>({x}_r, k, kb) ",
    "turned": "{x}_z = ConvTranspose <strides = [2, 2]>({x}, t, tb) ",
    "depthwise": "{x}_z = Conv <group = 3>({x}, dw) ",
    "maximum": "{x}_z = MaxPool <kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 1]>({x}) ",
    "tied": "{x}_r = Relu({x}) {x}_z = MaxPool <kernel_shape = [2, 2], strides = [1, 1]>({x}_r) ",
    "average": "{x}_z = AveragePool <kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 1]>({x}) ",
    "plain": "{x}_r = Relu({x}) {x}_z = AveragePool <kernel_shape = [2, 2], strides = [2, 2]>({x}_r) ",
    "power": "{x}_z = LpPool <p = 2, kernel_shape = [2, 2]>({x}) ",
    "batchnorm": "{x}_z = BatchNormalization({x}, g, gb, gm, gv) ",
    "instance": "{x}_z = InstanceNormalization({x}, g, gb) ",
    "response": "{x}_z = LRN <size = 3>({x}) ",
}
OF_ROWS = {
    "dense": "{x}_a = MatMul({x}, w) {x}_z = Add({x}_a, b) ",
    "rectified": "{x}_r = Relu({x}) {x}_a = MatMul({x}_r, w) {x}_z = Add({x}_a, b) ",
    "sums": "{x}_t = Tanh({x}) {x}_m = ReduceMean({x}, minus) {x}_z = Add({x}_t, {x}_m) ",
    "less": "{x}_t = Tanh({x}) {x}_z = Sub({x}_t, {x}) ",
    "products": "{x}_t = Tanh({x}) {x}_s = Sigmoid({x}_t) {x}_z = Mul({x}_s, {x}) ",
    "attention": "{x}_t = Transpose <perm = [0, 2, 1]>({x}) {x}_p = MatMul({x}, {x}_t) {x}_s = Softmax({x}_p) "
    "{x}_z = MatMul({x}_s, {x}) ",
    "norm": "{x}_z = LayerNormalization({x}, g, gb) ",
    "length": "{x}_z = LpNormalization({x}) ",
    "gelu": "{x}_z = Gelu({x}) ",
    "larger": "{x}_e = Elu({x}) {x}_z = Max({x}_e, row, {x}) ",
    "scaled": "{x}_c = Mul({x}, row) {x}_d = Add({x}_c, row) {x}_z = Div({x}_d, half) ",
}
ENDS = {
    "largest": (IMAGE, "{x}_g = GlobalMaxPool({x}) {y} = Flatten({x}_g)"),
    "mean": (IMAGE, "{x}_r = Relu({x}) {x}_g = GlobalAveragePool({x}_r) {y} = Flatten({x}_g)"),
    "summed": (ROWS, "{y} = ReduceSum <keepdims = 0>({x}, steps)"),
    "maxima": (ROWS, "{y} = ReduceMax <keepdims = 0>({x}, steps)"),
    "flat": (("N", 3, 2, 2), "{x}_f = Reshape({x}, twelve) {y} = Gemm({x}_f, v, b)"),
}
BRANCHES = {
    **{k: (IMAGE, text + MEAN) for k, text in OF_IMAGES.items()},
    **{k: (ROWS, text + "{y} = ReduceMean <keepdims = 0>({x}_z, steps)") for k, text in OF_ROWS.items()},
    **ENDS,
}
SIZES = {"N": 2, "H": 7, "W": 6, "T": 5}


@dataclass(frozen=True)
class On(Matcher):
    """The nodes that a rule fits."""

    rule: Rule

    def __call__(self, node, survey):
        return stands(self.rule, node)


def stands(rule, node):
    """Whether a rule can stand on a node: of one that changes parameters, on what has some."""
    if getattr(rule, "zero_params", None):
        return node.kind in ("dense", "conv")
    if isinstance(rule, r.Pass | captum.IdentityRule):
        return node.op_type in KEEPING
    return getattr(rule, "rule", rule).fits(node) and rule.fits(node)


KEEPING = ("LayerNormalization", "Gelu", "BatchNormalization", "LRN")
"""Operators whose output is shaped like their one input."""


def feeds_of(branches):
    return {
        k: draw(*(SIZES.get(n, n) for n in BRANCHES[k][0]), seed=i) for i, k in enumerate(BRANCHES) if k in branches
    }


@cache
def nodes_of(branch):
    """The nodes of a branch that take a rule, but those that only end it."""
    proto = joined([branch])
    graph = reflrp.load(proto).graph({k: x.shape for k, x in feeds_of([branch]).items()})
    ended = {"ReduceMean"} if branch not in ENDS else set()
    return [n for n in graph.nodes if n.kind not in UNRULED and n.op_type not in ended]


def branches_of(rule, turn):
    """A branch for each kind of node that a rule fits, by turns; of rules of one kind, or of pools and maxima, all."""
    by_kind = {}
    for branch in BRANCHES:
        for node in nodes_of(branch):
            if stands(rule, node) and branch not in by_kind.setdefault(node.kind, []):
                by_kind[node.kind].append(branch)
    if len(by_kind) == 1 or rule.serves <= {"pool", "max"}:
        return sorted({b for found in by_kind.values() for b in found})
    return sorted({found[turn % len(found)] for found in by_kind.values()})


def compiled_is_explained(branches, rules):
    """Assert that each branch's relevance is the engine's, at lengths that the graph leaves open."""
    proto, feeds = joined(branches), feeds_of(branches)
    shape = reflrp.load(proto).run(feeds)["y"].shape
    init = draw(*shape, seed=99)
    found = run(reflrp.compile(proto, rules, init="input"), {**feeds, "init": init})
    exact, single = (reflrp.explain(proto, feeds, rules, init=init, dtype=d).relevances for d in ("float64", "float32"))
    for name, wanted in exact.items():
        off = part(found[f"relevance/{name}"], wanted)
        assert off <= max(FACTOR * part(single[name], wanted), FLOOR), name


@pytest.mark.parametrize("name", RULES)
def test_rules(name):
    rule, turn = RULES[name], list(RULES).index(name)
    fitting = branches_of(rule, turn)
    assert fitting, "no node that it fits is tried"
    rest = ((kind("dense", "conv"), r.Epsilon(0.25)), (kind("product"), r.Half()), *defaults(0.25))
    compiled_is_explained(fitting, Composite(((On(rule), rule), *rest), name))


BOX = {"low": -4.0, "high": 4.0}


def made(make):
    """A composite of a maker, with a box, a rule or an alpha where it asks for one."""
    for given in ({}, BOX, {"alpha": 2}, {"rule": "Alpha2Beta1"}):
        try:
            return make(**given)
        except (TypeError, reflrp.RuleError):
            continue
    raise AssertionError(f"{make} needs arguments that this test does not know")


COMPOSITES = {f"{name}.{k}": made(make) for name, m in DIALECTS.items() for k, make in m.COMPOSITES.items()} | {
    "lrp_toolbox.alphabeta 2": lrp_toolbox.alphabeta(2.0),
    "lrp_toolbox.epsilon 0.5": lrp_toolbox.epsilon(0.5),
    "innsight.LRP of averages": innsight.LRP("alpha_beta", 2.0, winner_takes_all=False),
    "captum.LRP by layers": captum.LRP(hooks="layer"),
}
WHOLES = {
    "chain": model(
        """c = Conv <pads = [1, 1, 1, 1]>(x, k, b) r = Relu(c)
        p = MaxPool <kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 1]>(r) d = Conv(p, l, b) t = Relu(d)
        a = AveragePool <kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 1]>(t)
        g = GlobalMaxPool(a) f = Flatten(g) y = Gemm(f, w, v)""",
        "float[N,3,H,W] x", k=(4, 3, 3, 3), b=(4,), l=(4, 4, 2, 2), w=(4, 3), v=(3,),
    ),
    "residual": model(
        """c = Conv <pads = [1, 1, 1, 1]>(x, k, b) n = BatchNormalization(c, g, b, m, s) r = Relu(n)
        d = Conv <pads = [1, 1, 1, 1]>(r, l, b) a = Add(d, r) t = Relu(a)
        q = GlobalAveragePool(t) f = Flatten(q) y = Gemm(f, w, v)""",
        "float[N,3,H,W] x", k=(4, 3, 3, 3), b=(4,), g=(4,), m=(4,), s=draw(4) ** 2 + 0.5, l=(4, 4, 3, 3), w=(4, 3), v=(3,),
    ),
    "rows": model(
        """h = MatMul(x, w) b = Add(h, c) t = Transpose <perm = [0, 2, 1]>(b) p = MatMul(b, t) s = Softmax(p)
        z = MatMul(s, b) a = Add(z, b) l = LayerNormalization(a, g, c) u = MatMul(l, w) e = Gelu(u) o = Mul(e, a)
        m = ReduceMean <keepdims = 0>(o, one) y = Gemm(m, v)""",
        "float[N,T,4] x", opset=20, w=(4, 4), c=(4,), g=(4,), v=(4, 3), one=ints(1),
    ),
}  # fmt: skip
"""Nets of open lengths."""


@pytest.mark.parametrize("name", COMPOSITES)
def test_composites(name):
    """On each net that it explains, of which there is one."""
    tried = 0
    for proto in WHOLES.values():
        dims = proto.graph.input[0].type.tensor_type.shape.dim
        feeds = {"x": draw(*(d.dim_value or SIZES[d.dim_param] for d in dims), seed=1)}
        try:
            reflrp.explain(proto, feeds, COMPOSITES[name])
        except reflrp.RuleError:
            continue
        check(proto, feeds, COMPOSITES[name], layers=True)
        tried += 1
    assert tried


FIRSTS = [*{name.split(".")[0]: name for name in reversed(COMPOSITES)}.values(), "zennit.epsilon_plus_flat"]
COUNTING = {"captum": "the way in which LRP assigns rules", "pnpxai": r"Part\(part='softmax'\)"}
"""What of two dialects looks at more than a node and its neighbours, and is refused by name beside steps of any number."""


@pytest.mark.parametrize("name", FIRSTS)
def test_recurrent_nets(name):
    """Of any number of steps, where the composite explains them; what asks how often a value is read is refused by name."""
    proto, rules, feeds = net("GRU", **TURNS["both last"]), COMPOSITES[name], drawn(4, 2)
    try:
        reflrp.explain(proto, feeds, rules)
    except reflrp.RuleError:
        with pytest.raises(reflrp.RuleError):
            reflrp.compile(proto, rules)
        return
    library = name.split(".")[0]
    if library in COUNTING:
        with pytest.raises(reflrp.InputError, match=f"{COUNTING[library]} is not known to look at single nodes"):
            reflrp.compile(proto, rules)
        check(proto, feeds, rules, shapes={"x": (4, None, 4)})
    else:
        check(proto, feeds, rules)


def test_a_layer_with_its_activation_is_one_in_two_graphs():
    """The functions are compared, which each graph has for itself."""
    one, two = (Fused(jl.ZBoxRule(-1.0, 2.0), Pointwise("clip", (np.float32(0), np.float32(6)))) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != Fused(one.rule, Pointwise("clip", (np.float32(0), np.float32(1))))
    assert one != Fused(one.rule, Pointwise("relu"))
    assert one != Fused(jl.ZBoxRule(-1.0, 1.0), one.activation)


def test_rules_of_captum_on_functions():
    """By a dict of rules: the input times the gradient of R / st(output)."""
    proto, x = model("t = Tanh(x) y = Mul(t, c)", c=np.float32(2)), draw(2, 4).astype(np.float64)
    found = reflrp.explain(proto, x, {"*": captum.EpsilonRule()}, target=1, init="one").relevance[:, 1]
    np.testing.assert_allclose(found, x[:, 1] * (1 - np.tanh(x[:, 1]) ** 2) / np.tanh(x[:, 1]), rtol=1e-6)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceSum"])
@pytest.mark.parametrize("rules", ["gradient", "epsilon", lrp_toolbox.flat(), lrp_toolbox.simple()])
def test_relevance_that_is_known_before_an_axis_of_open_length(rules, op):
    """What stands behind a sum of all entries is a constant, what comes of it has the open lengths."""
    proto, x = model(f"y = {op}(x)", "float[N,T,4] x"), draw(2, 5, 4)
    check(proto, {"x": x}, rules, target=(0, 0), init="one")
