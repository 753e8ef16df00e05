"""Settings from living analyzers of iNNvestigate's and SignXAI2's, on stand-ins: what is read, what is refused.

tests/peers has the libraries themselves.
"""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

import reflrp
from reflrp.dialects import innvestigate as dialect
from reflrp.dialects import signxai
from reflrp.errors import RuleError

RNG = np.random.default_rng(0)
WEIGHTS = {"d1": [RNG.normal(size=(4, 5)), RNG.normal(size=5)], "out": [RNG.normal(size=(5, 3)), RNG.normal(size=3)]}
X = RNG.normal(size=(2, 4))


def of_library(library="innvestigate.analyzer"):
    """A class that looks like the library's; its methods are the library's own."""

    def enter(cls):
        cls.__module__ = library
        for value in vars(cls).values():
            if callable(value):
                value.__module__ = library
        return cls

    return enter


@of_library(library="keras.layers")
class Dense:
    def __init__(self, name):
        self.name = name

    def get_weights(self):
        return WEIGHTS[self.name]


class Recurrent(Dense):
    __module__, kernel = "keras.layers", 1


def model(last="linear", layer=Dense, title="Dense"):
    """A Keras model of two dense layers."""
    units = [("d1", "relu", "x"), ("out", last, "d1")]
    listed = [{"class_name": "InputLayer", "config": {"name": "x"}, "name": "x", "inbound_nodes": []}] + [
        {
            "class_name": title,
            "config": {"name": name, "activation": activation},
            "name": name,
            "inbound_nodes": [[[source, 0, 0, {}]]],
        }
        for name, activation, source in units
    ]
    config = {"name": "net", "layers": listed, "input_layers": [["x", 0, 0]], "output_layers": [["out", 0, 0]]}
    return SimpleNamespace(get_config=lambda: config, layers=[layer("d1"), layer("out")])


def file(scale=1.0):
    nodes = [
        helper.make_node("MatMul", ["x", "W1"], ["m1"], "net/d1/MatMul"),
        helper.make_node("Add", ["m1", "B1"], ["a1"], "net/d1/BiasAdd"),
        helper.make_node("Relu", ["a1"], ["r1"], "net/d1/Relu"),
        helper.make_node("MatMul", ["r1", "W2"], ["m2"], "net/out/MatMul"),
        helper.make_node("Add", ["m2", "B2"], ["y"], "net/out/BiasAdd"),
    ]
    arrays = dict(zip(("W1", "B1", "W2", "B2"), (*WEIGHTS["d1"], *WEIGHTS["out"]), strict=True))
    arrays["W2"] = arrays["W2"] * scale
    double = onnx.TensorProto.DOUBLE
    ports = [helper.make_tensor_value_info(k, double, ["n", size]) for k, size in (("x", 4), ("y", 3))]
    held = [onnx.numpy_helper.from_array(a, k) for k, a in arrays.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


@of_library()
class Mapping:
    def apply(self, Xs):
        return Xs


@of_library()
class EpsilonRule(Mapping):
    def __init__(self, layer, state, epsilon=1e-7, bias=True):
        self.layer = layer.name


@of_library()
class AlphaBetaRule(Mapping):
    def __init__(self, layer, state, alpha=None, beta=None, bias=True, copy_weights=False):
        self.layer = layer.name


@of_library()
class Alpha2Beta1Rule(AlphaBetaRule):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, alpha=2, beta=1, bias=True, **kwargs)


@of_library()
class BoundedRule(Mapping):
    def __init__(self, layer, state, low=-1, high=1, copy_weights=False):
        self.layer = layer.name


@of_library()
class FlatRule(Mapping):
    pass


class Quarter(EpsilonRule):
    """A user's own way to give a rule its arguments."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, epsilon=0.25, bias=False, **kwargs)


class Positional(AlphaBetaRule):
    def __init__(self, layer, state):
        super().__init__(layer, state, 3, 2, copy_weights=True)


@of_library()
class LRP:
    def create_rule_mapping(self, layer):
        return layer


@of_library()
class LRPSequentialPresetA(LRP):
    pass


@of_library()
class DeepTaylor:
    pass


@of_library()
class BoundedDeepTaylor(DeepTaylor):
    pass


@of_library()
class Gradient:
    pass


def analyzer(kind=LRP, rules=None, **attributes):
    made = kind()
    vars(made).update(
        _model=model(),
        _rules_use_conditions=True,
        _rules=rules if rules is not None else [(lambda layer: True, "Z")],
        _bn_layer_rule="Z",
        _bn_layer_fuse_mode="one_linear",
        _neuron_selection_mode="index",
        _disable_model_checks=False,
        _model_check_done=True,
        _reverse_clip_values=False,
        _reverse_project_bottleneck_layers=False,
        _reverse_reapply_on_copied_layers=False,
        _conditional_reverse_mappings={},
        _until_layer_idx=None,
        _until_layer_rule=None,
        _input_layer_rule=None,
    )
    vars(made).update(attributes)
    return made


def rules_on(given):
    e = reflrp.explain(file(), X, rules=dialect.composite(given, file()), target=0)
    return {name: rule for name, rule in e.rules.items() if "/d1/" in name or "/out/" in name}


def is_first(layer):
    return layer.name == "d1"


RULES = {
    "Z": dialect.ZRule(),
    EpsilonRule: dialect.EpsilonRule(),
    Quarter: dialect.EpsilonRule(0.25, False),
    Positional: dialect.AlphaBetaRule(3, 2),
    Alpha2Beta1Rule: dialect.Alpha2Beta1Rule(),
    FlatRule: dialect.FlatRule(),
}


@pytest.mark.parametrize("given", RULES, ids=str)
def test_rules(given):
    chosen = rules_on(analyzer(rules=[(is_first, given), (lambda layer: True, "WSquare")]))
    kernels = [rule for rule in chosen.values() if isinstance(rule, dialect.KerasRule)]
    assert kernels == [RULES[given], dialect.WSquareRule()]


def test_what_is_read_is_what_the_dialect_is():
    own = analyzer(kind(LRPSequentialPresetA), [(lambda layer: True, Quarter)], _bn_layer_rule=Quarter)
    ours = dialect.composite(own, file())
    assert ours.neuron_selection_mode == "index"
    want = dialect.LRPEpsilon(epsilon=0.25, bias=False, neuron_selection_mode="index").analyze(file(), X, 1)
    assert np.array_equal(ours.analyze(file(), X, 1), want)


def kind(base, **body):
    """A user's subclass."""
    return type("Mine", (base,), body)


def test_lists_are_taken_from_their_end():
    listed = analyzer(_rules_use_conditions=False, _rules=[], _rule=["Flat", "Z"])
    kernels = [rule for rule in rules_on(listed).values() if isinstance(rule, dialect.KerasRule)]
    assert kernels == [dialect.ZRule(), dialect.FlatRule()]
    meant = dialect.composite(listed, file(), as_released=False)
    e = reflrp.explain(file(), X, rules=meant, target=0)
    assert [r for r in e.rules.values() if isinstance(r, dialect.KerasRule)] == [dialect.FlatRule(), dialect.ZRule()]
    vars(listed)["_input_layer_rule"] = "WSquare"
    kernels = [rule for rule in rules_on(listed).values() if isinstance(rule, dialect.KerasRule)]
    assert kernels == [dialect.ZRule(), dialect.FlatRule()], "the list is longer than the layers"


def test_deep_taylor():
    for given, ours in (
        (analyzer(DeepTaylor), dialect.DeepTaylor(model(), neuron_selection_mode="index")),
        (
            analyzer(BoundedDeepTaylor, _bounds_low=-3, _bounds_high=2),
            dialect.BoundedDeepTaylor(model(), -3, 2, neuron_selection_mode="index"),
        ),
    ):
        found = dialect.composite(given, file())
        assert type(found) is type(ours)
        assert np.array_equal(found.analyze(file(), X, 1), ours.analyze(file(), X, 1))


def looking(self, layer, state):
    super(Looking, self).__init__(layer, state, epsilon=0.1 if layer.name == "d1" else 0.2)


def asking(self, layer, state):
    super(Asking, self).__init__(layer, state, epsilon=0.1 if isinstance(layer, Dense) else 0.2)


Looking = type("Looking", (EpsilonRule,), {"__init__": looking})
Asking = type("Asking", (EpsilonRule,), {"__init__": asking})
Changed = type("Changed", (EpsilonRule,), {"apply": lambda self, Xs: 2 * Xs})
Own = type("Own", (), {"__module__": "mine"})
Unknown = type("Unknown", (Mapping,), {})
Scaled = type(
    "Scaled", (EpsilonRule,), {"__init__": lambda self, *a: super(Scaled, self).__init__(*a, epsilon=1, scale=2)}
)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Looking, "reads 'name' of its layer"),
        (Asking, "reads '__class__' of its layer"),
        (Changed, "was changed: its apply is not innvestigate's own"),
        (Own, "is none of innvestigate's"),
        (Unknown, "has no equivalent"),
        (Scaled, r"gives \['scale'\], which have no equivalent"),
        ("Zed", "'Zed' is unknown"),
        (3, "is no rule"),
    ],
)
def test_refused_rules(rule, why):
    with pytest.raises(RuleError, match=why):
        dialect.composite(analyzer(rules=[(lambda layer: True, rule)]))
    if rule not in (Own, 3):
        with pytest.raises(RuleError, match=why):
            dialect.composite(analyzer(_bn_layer_rule=rule))


REFUSED = {
    "Gradient is no analyzer of relevance": analyzer(Gradient),
    "its create_rule_mapping is not": analyzer(kind(LRP, create_rule_mapping=lambda self, layer: None)),
    "was changed: its create_rule_mapping": analyzer(create_rule_mapping=lambda layer: None),
    "reverse_clip_values=": analyzer(_reverse_clip_values=(0, 1)),
    "a mapping of its own, 'mine'": analyzer(_conditional_reverse_mappings={0: [{"name": "mine"}]}),
    "of the class MyDense, which is not Keras's": analyzer(_model=model(layer=type("MyDense", (Dense,), {}))),
    "layer 'd1' has a kernel, and is of a class": analyzer(_model=model(layer=Recurrent, title="CuDNNLSTM")),
    "no condition of the LRP holds for layer 'd1'": analyzer(rules=[(lambda layer: False, "Z")]),
    "fails at layer 'd1'": analyzer(rules=[(lambda layer: layer.kernel > 0, "Z")]),
    "with until_layer_idx=2": analyzer(
        _rules_use_conditions=False, _rule=["Z"], _until_layer_idx=2, _until_layer_rule="Flat"
    ),
    "input_layer_rule=\\(low, high\\)": analyzer(_rules_use_conditions=False, _rule=["Z"], _input_layer_rule=(0, 1)),
    "has no '_bounds_low'": analyzer(BoundedDeepTaylor),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused_analyzers(why):
    with pytest.raises(RuleError, match=why):
        dialect.composite(REFUSED[why])


def test_a_file_of_another_model_is_refused():
    with pytest.raises(RuleError, match=r"'net/out/MatMul' .* is of layer 'out', but its weights are others"):
        dialect.composite(analyzer(), file(2.0))
    assert dialect.composite(analyzer(), file(1.0))


@pytest.mark.parametrize("odd", [None, 3, "x", [], np.ones(2), {}, LRP], ids=repr)
def test_odd_arguments(odd):
    with pytest.raises(reflrp.ReflrpError):
        dialect.composite(odd)
    for arguments in ({"as_released": odd}, {"model": odd}, {"model": file(), "shapes": {"x": odd}}):
        if odd is not None or "as_released" in arguments:
            with pytest.raises(reflrp.ReflrpError):
                dialect.composite(analyzer(), **arguments)


SIGNXAI = "signxai.tf_signxai.analyzer"


@of_library(SIGNXAI)
class Replacement:
    def apply(self, Xs):
        return Xs


def signxai_rule(title, **body):
    return of_library(SIGNXAI)(
        type(title, (Replacement,), {"__init__": lambda self, layer, *a, **k: layer.name, **body})
    )


STD = signxai_rule("StdxEpsilonRule")


class Std(STD):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, epsilon=1e-7, stdfactor=0.5, bias=False)


def until_index(rules):
    """SignXAI's LRPRuleUntilIndex, which holds another analyzer."""
    inner = analyzer(of_library(SIGNXAI)(type("LRP", (), {})), rules)
    made = of_library(SIGNXAI)(type("LRPRuleUntilIndex", (), {}))()
    made.default_rule_configuration = inner
    return made


def test_signxai():
    given = until_index([(is_first, Std), (lambda layer: True, "SIGN")])
    for one in (given, given.default_rule_configuration):
        e = reflrp.explain(file(), X, rules=signxai.composite(one, file()), target=0)
        kernels = [rule for rule in e.rules.values() if isinstance(rule, dialect.KerasRule)]
        assert kernels == [signxai.StdxEpsilonRule(0.5, False), signxai.SIGNRule()]
    with pytest.raises(RuleError, match="an analyzer of innvestigate's"):
        dialect.composite(given.default_rule_configuration)
    with pytest.raises(RuleError, match="an analyzer of signxai's"):
        signxai.composite(analyzer())
    with pytest.raises(RuleError, match="the rule Quarter is none of signxai's"):
        signxai.composite(until_index([(lambda layer: True, Quarter)]))
