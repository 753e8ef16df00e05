"""Settings from a living object, on stand-ins for torch and zennit: what is proven, and what is refused.

tests/peers has the libraries themselves.
"""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

import reflrp
from reflrp.dialects import captum, zennit
from reflrp.dialects.living import Network, Part
from reflrp.dialects.living.scopes import Scopes
from reflrp.errors import RuleError

RNG = np.random.default_rng(0)


class Tensor:
    """As much of a tensor as is asked for."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def detach(self):
        return self

    cpu = double = detach

    def numpy(self):
        return self.array


class Module:
    """As much of a torch module as is asked for."""

    def __init__(self, children=(), **fields):
        self.inner = dict(children)
        self.__dict__.update(fields)

    def children(self):
        return self.inner.values()

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        memo = set() if memo is None else memo
        if remove_duplicate and self in memo:
            return
        memo.add(self)
        yield prefix, self
        for name, child in self.inner.items():
            yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)


def kind(title, base=Module, library="torch.nn"):
    """A class that looks like one of a library's."""
    return type(title, (base,), {"__module__": library})


Linear, ReLU, Sequential, GELU = (kind(title) for title in ("Linear", "ReLU", "Sequential", "GELU"))
W, B, V = RNG.normal(size=(3, 4)), RNG.normal(size=3), RNG.normal(size=(2, 3))


def network(weight=W):
    fc = Linear(weight=Tensor(weight), bias=Tensor(B))
    return Sequential({"fc": fc, "act": ReLU(), "head": Linear(weight=Tensor(V), bias=None)})


def file(relu="/act/Relu", head="/head/Gemm"):
    nodes = [
        helper.make_node("Gemm", ["x", "W", "B"], ["h"], "/fc/Gemm", transB=1),
        helper.make_node("Relu", ["h"], ["r"], relu),
        helper.make_node("Gemm", ["r", "V"], ["y"], head, transB=1),
    ]
    double, arrays = onnx.TensorProto.DOUBLE, {"W": W, "B": B, "V": V}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", double, ["n", 4])],
        [helper.make_tensor_value_info("y", double, ["n", 2])],
        [onnx.numpy_helper.from_array(a, k) for k, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def written(function, library="zennit.rules"):
    function.__module__ = library
    return function


def epsilon(value):
    """A stand-in for zennit's Epsilon: its functions hold the stabiliser."""
    stabilizer_fn = kind("Stabilizer", library="zennit.core")(epsilon=value, clip=False, norm_scale=False, dim=None)
    return kind("Epsilon", library="zennit.rules")(
        gradient_mapper=written(lambda R, z: R / stabilizer_fn(z)), param_modifiers=[SimpleNamespace(zero_params=None)]
    )


PASS = kind("Pass", library="zennit.rules")()


def living(rules, canonizers=()):
    """A composite that gives modules rules by their names."""
    return SimpleNamespace(module_map=lambda ctx, name, module: rules.get(name), canonizers=list(canonizers))


ALL = {"fc": epsilon(0.25), "act": PASS, "head": epsilon(0.5)}


def test_rules_stand_on_the_nodes_of_their_modules():
    composite = zennit.composite(living(ALL), file(), network())
    x = RNG.normal(size=(2, 4))
    e = reflrp.explain(file(), x, rules=composite, target=1)
    assert e.rules == {
        "/fc/Gemm": zennit.Epsilon(zennit.Stabilizer(0.25)),
        "/act/Relu": zennit.Pass(),
        "/head/Gemm": zennit.Epsilon(zennit.Stabilizer(0.5)),
    }
    same = zennit.NameMapComposite([((f"/{n}",), r) for n, r in e.rules.items()])
    assert same.pairs
    by_name = {"/fc/Gemm": zennit.Epsilon(0.25), "/act/Relu": zennit.Pass(), "/head/Gemm": zennit.Epsilon(0.5)}
    assert np.array_equal(e.relevance, reflrp.explain(file(), x, rules=by_name, target=1).relevance)


def test_a_function_is_a_gradient():
    """A Relu that no module wrote has no rule, though there is a module of its kind."""
    composite = zennit.composite(living({k: ALL[k] for k in ("fc", "act", "head")}), file(relu="/Relu"), network())
    assert type(reflrp.explain(file("/Relu"), np.ones((1, 4)), rules=composite).rules["/Relu"]).__name__ == "Gradient"


@pytest.mark.parametrize(
    ("rules", "onnx_file", "net", "why"),
    [
        (ALL, file(), network(W + 1e-9), "'fc' \\(Linear\\), but its weights are others"),
        (ALL, file(), network(W[:, :3]), "its weights are others"),
        (ALL, file(relu="Relu_1"), network(), "does not say from which torch modules 1 nodes are: 'Relu_1'"),
        (ALL, file(relu="/head/Relu"), network(), "'head' \\(Linear\\) has the rule .* '/head/Relu' \\(onnx Relu\\) is in it"),
        (ALL, file(head="/fc/Gemm_1"), network(), "its weights are others"),
        ({**ALL, "act": epsilon(1)}, file(relu="/Relu"), network(), "no node of the file is from 'act' \\(ReLU\\)"),
        ({**ALL, "": epsilon(1)}, file(relu="/Relu"), network(), "'' \\(Sequential\\) has the rule"),
        ({"": PASS}, file(), network(), "has the rule Pass\\(\\), but is more than one operator: 'act' is in it"),
        ({"fc": kind("Mine", library="zennit.rules")()}, file(), network(), "of module 'fc' is none of zennit.rules"),
        ({"fc": kind("Epsilon", library="mine")()}, file(), network(), "of module 'fc' is none of zennit.rules"),
    ],
)  # fmt: skip
def test_what_is_refused(rules, onnx_file, net, why):
    with pytest.raises(RuleError, match=why):
        zennit.composite(living(rules), onnx_file, net)


def test_a_function_as_stabiliser_is_refused():
    stabilizer_fn = np.abs
    hook = kind("Norm", library="zennit.rules")(gradient_mapper=written(lambda R, z: R / stabilizer_fn(z)))
    with pytest.raises(RuleError, match="is a function on tensors"):
        zennit.composite(living({"fc": hook}), file(), network())


def test_changed_rules_and_composites_are_refused():
    hook = epsilon(0.25)
    hook.reducer = lambda inputs, gradients: 2 * gradients[0]
    with pytest.raises(RuleError, match="was changed: its reducer is not zennit's own"):
        zennit.composite(living({"fc": hook}), file(), network())
    patched = kind("Pass", library="zennit.rules")
    patched.backward = lambda self, module, grad_input, grad_output: grad_input
    with pytest.raises(RuleError, match="was changed: its backward is not zennit's own"):
        zennit.composite(living({"act": patched()}), file(), network())
    own = kind("Own", SimpleNamespace)(module_map=lambda ctx, name, module: None, canonizers=[])
    type(own).register = lambda self, module: None
    with pytest.raises(RuleError, match="by another `register` than zennit's"):
        zennit.composite(own, file(), network())


def test_a_layer_that_is_called_twice_is_told():
    """zennit keeps the input of the last call."""
    square = Linear(weight=Tensor(W[:, :3]), bias=None)
    nodes = [
        helper.make_node("Gemm", ["x", "W"], ["h"], "/fc/Gemm", transB=1),
        helper.make_node("Gemm", ["h", "W"], ["y"], "/fc_1/Gemm", transB=1),
    ]
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, ["n", 3]) for name in "xy"]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], [onnx.numpy_helper.from_array(W[:, :3], "W")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    composite = zennit.composite(living({"fc": epsilon(0.25)}), model, Sequential({"fc": square}))
    assert "'fc': called more than once" in " ".join(reflrp.explain(model, np.ones((1, 3)), rules=composite).notes)


def test_an_unknown_canonizer_is_refused():
    with pytest.raises(RuleError, match="apply it before the export"):
        zennit.composite(living({}, [kind("AttributeCanonizer", library="zennit.canonizers")()]), file(), network())
    named = kind("NamedMergeBatchNorm", library="zennit.canonizers")
    with pytest.raises(RuleError, match=r"no modules \['bn'\]"):
        zennit.composite(living({}, [named(name_map=[(("fc",), "bn")])]), file(), network())


def test_a_name_that_fits_two_modules():
    """/act_1 is the second call of `act`, or a module `act_1`: right where both have one rule, else refused."""
    net = network()
    net.inner["act_1"] = ReLU()
    assert zennit.composite(living({**ALL, "act_1": PASS}), file(relu="/act_1/Relu"), net)
    with pytest.raises(RuleError, match="may be of 'act' \\(ReLU\\), 'act_1' \\(ReLU\\), which have different rules"):
        zennit.composite(living({**ALL, "act_1": epsilon(1)}), file(relu="/act_1/Relu"), net)


@pytest.mark.parametrize("odd", [None, 3, "x", [], np.ones(2), {}, ReLU], ids=repr)
def test_odd_arguments(odd):
    for arguments in ((odd, file(), network()), (living(ALL), odd, network()), (living(ALL), file(), odd)):
        with pytest.raises(reflrp.ReflrpError):
            zennit.composite(*arguments)
    with pytest.raises(reflrp.ReflrpError):
        captum.composite(odd, file())
    if odd is not None:
        with pytest.raises(reflrp.ReflrpError):
            captum.composite(network(), odd)
        with pytest.raises(reflrp.ReflrpError):
            zennit.composite(living(ALL), file(), network(), shapes={"x": odd})


def test_a_living_network_of_captum():
    rule = kind("EpsilonRule", library="captum.attr._utils.lrp_rules")(STABILITY_FACTOR=0.25)
    net = network()
    net.inner["fc"].rule = rule
    x = RNG.normal(size=(2, 4))
    e = reflrp.explain(file(), x, rules=captum.composite(net, file()), target=0)
    assert e == reflrp.explain(file(), x, rules=captum.LRP({"/fc/Gemm": captum.EpsilonRule(0.25)}), target=0)
    plain = reflrp.explain(file("/Relu"), x, rules=captum.composite(net, file("/Relu")), target=0)
    assert type(plain.rules["/Relu"]).__name__ == "Gradient"
    net.inner["fc"].rule = kind("EpsilonRule", library="mine")(STABILITY_FACTOR=0.25)
    with pytest.raises(RuleError, match="none of captum's four"):
        captum.composite(net, file())
    net.inner["fc"].rule, net.inner["act"] = rule, GELU()
    with pytest.raises(RuleError, match="captum has no default rule for 'act' \\(GELU\\)"):
        captum.composite(net, file())


NAMES = (
    "",
    "features",
    "features.0",
    "features.3",
    "features.3.1",
    "features.3.1.conv",
    "block",
    "block.conv",
    "conv",
    "d.k",
)


@pytest.mark.parametrize(
    ("onnx_name", "scope", "want"),
    [
        ("node_conv2d", "['', 'features', 'features.0', 'conv2d']", {"features.0"}),
        ("node_relu", "['', 'relu']", {""}),
        ("node_x", "['', 'unknown', 'x']", set()),
        ("/features/features.3/features.3.1/conv/Conv", "", {"features.3.1.conv"}),
        ("/features/features.3/features.3.1/Add", "", {"features.3.1"}),
        ("/block/conv_2/Conv", "", {"block.conv"}),
        ("/conv/Conv", "", {"conv", "block.conv", "features.3.1.conv"}),
        ("/k/Gemm", "", {"d.k"}),
        ("/Relu_3", "", {""}),
        ("/other/Relu", "", set()),
        ("Conv_3", "", set()),
    ],
)
def test_scopes(onnx_name, scope, want):
    assert Scopes({name: name for name in NAMES}).innermost(onnx_name, scope) == want


def test_shared_modules_have_their_first_name():
    shared = Linear(weight=Tensor(W), bias=None)
    net = Sequential({"one": shared, "two": shared})
    assert Scopes(dict(zip(("", "one", "two"), ("", "one", "one"), strict=True))).innermost("/two/Gemm", "") == {"one"}
    assert list(dict(net.named_modules())) == ["", "one"]


def test_parts_without_numbers_are_refused():
    part = Part("fc", Linear(weight=3, bias=None))
    with pytest.raises(RuleError, match="the numbers of a int cannot be read"):
        part.computes(Network(file(), network()).graph.nodes[0].op)
