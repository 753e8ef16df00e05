"""Settings from a living composite of lxt.explicit's, on stand-ins for torch and LXT; tests/peers has LXT itself."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_living import RNG, Linear, Module, ReLU, Sequential, file, kind, network

import reflrp
from reflrp.dialects import lxt
from reflrp.errors import RuleError

X = RNG.normal(size=(2, 4))


def rule(title, epsilon=None, library="lxt.explicit.rules"):
    """A class of LXT's, whose epsilon stands in its signature."""

    def plain(self, module):
        self.module = module

    def stabilised(self, module, epsilon=epsilon):
        self.module = module

    return type(title, (), {"__module__": library, "__init__": plain if epsilon is None else stabilised})


def function(title, library="lxt.explicit.functional"):
    def made(a, b):
        return a

    made.__name__, made.__module__ = title, library
    return made


EPSILON, IDENTITY, STOP = rule("EpsilonRule", 0.25), rule("IdentityRule"), rule("StopRelevanceRule")
REPLACED = rule("LinearEpsilon", 0.5, "lxt.explicit.modules")


def living(layer_map, **more):
    return SimpleNamespace(layer_map=layer_map, **more)


def test_the_first_class_that_fits_gives_the_rule():
    ours = lxt.composite(living({ReLU: IDENTITY, Linear: EPSILON, Module: STOP}), file(), network())
    e = reflrp.explain(file(), X, rules=ours, target=0)
    assert e.rules == {
        "/fc/Gemm": lxt.EpsilonRule(0.25),
        "/act/Relu": lxt.IdentityRule(),
        "/head/Gemm": lxt.EpsilonRule(0.25),
    }
    ours = lxt.composite(living({Linear: REPLACED}), file(), network())
    e = reflrp.explain(file(), X, rules=ours, target=0)
    assert e.rules["/head/Gemm"] == lxt.linear_epsilon(0.5)
    assert type(e.rules["/act/Relu"]).__name__ == "Gradient"


def test_functions_are_what_no_module_computes():
    twice = {Linear: EPSILON, function("add", "_operator"): function("add2")}
    with pytest.raises(RuleError, match=r"functions, _operator.add, and the file does not tell .* functions=True"):
        lxt.composite(living(twice), file(), network())
    assert lxt.composite(living(twice), file(), network(), functions=True)


REFUSED = {
    "TaylorDecompositionRule, which has no equivalent": living({Linear: rule("TaylorDecompositionRule")}),
    "mine.EpsilonRule, which has no equivalent": living({Linear: rule("EpsilonRule", 1, "mine")}),
    "LinearEpsilon, which stands for nn.Linear only": living({ReLU: REPLACED}),
    "give a class or a function": living({"fc": EPSILON}),
    "the composite is registered": living({Linear: EPSILON}, original_modules=[1]),
    "apply it before the export": living({Linear: EPSILON}, canonizers=[1]),
    "give it to zennit.composite": living({Linear: EPSILON}, zennit_composite=1),
    "function mine.f has no equivalent": living({function("add"): function("f", "mine")}),
    "add2 for mul, which stands for add, iadd only": living({function("mul"): function("add2")}),
    r"is more than one operator": living({Sequential: EPSILON}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused(why):
    net, model = network(), file()
    if "more than one" in why:
        net, model = Sequential({"block": net}), file("/block/act/Relu", "/block/head/Gemm")
    with pytest.raises(RuleError, match=why):
        lxt.composite(REFUSED[why], model, net, functions=True)


def test_patches_of_lxt_efficient_are_refused():
    patched = network()
    forward = function("forward", "lxt.efficient.patches")
    patched.inner["act"] = kind("ReLU")()
    type(patched.inner["act"]).forward = forward
    with pytest.raises(RuleError, match=r"'act' \(ReLU\) is patched by lxt.efficient: .* use lxt.AttnLRP"):
        lxt.composite(living({Linear: EPSILON}), file(), patched)
    with pytest.raises(RuleError, match=r"leaves no composite that could be read: use lxt.AttnLRP"):
        lxt.composite({Linear: forward}, file(), network())


def test_a_changed_composite_is_refused():
    own = kind("Own", SimpleNamespace, "mine")(layer_map={})
    type(own).register = function("register", "mine")
    with pytest.raises(RuleError, match="Own was changed: its register is not LXT's own"):
        lxt.composite(own, file(), network())


@pytest.mark.parametrize("odd", [None, 3, "x", [], np.ones(2), {}, ReLU], ids=repr)
def test_odd_arguments(odd):
    for arguments in ((odd, file(), network()), (living({}), odd, network()), (living({}), file(), odd)):
        with pytest.raises(reflrp.ReflrpError):
            lxt.composite(*arguments)
    for more in ({"functions": odd}, {"shapes": {"x": odd}}):
        if odd is not None or "functions" in more:
            with pytest.raises(reflrp.ReflrpError):
                lxt.composite(living({}), file(), network(), **more)
