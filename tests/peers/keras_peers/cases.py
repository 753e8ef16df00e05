"""What is compared: each analyzer and each rule, written once, as a function of the library.

`lib` has a library's names, be it the library's own module or its dialect; `lib.made(Rule, **arguments)` is a rule with
arguments, which in the libraries is a subclass and in the dialects an object.
"""

from collections.abc import Callable
from typing import Any

Case = Callable[[Any, Any], Any]
"""(library, Keras model or description) -> analyzer."""


def named(analyzer: str, **arguments: Any) -> Case:
    return lambda lib, model: getattr(lib, analyzer)(model, **arguments)


def alone(rule: str, **arguments: Any) -> Case:
    """LRP with one rule for all."""

    def make(lib: Any, model: Any) -> Any:
        chosen = lib.made(getattr(lib, rule), **arguments)
        return lib.LRP(model, rule=chosen, bn_layer_rule=chosen)

    return make


def mixed(*rules: tuple[str, str], **arguments: Any) -> Case:
    """LRP with conditions."""
    return lambda lib, model: lib.LRP(
        model, rule=[(getattr(lib, c), getattr(lib, r)) for c, r in rules], bn_layer_rule="Z", **arguments
    )


RULES: dict[str, Case] = {
    "ZRule": alone("ZRule"),
    "ZRule(bias=False)": alone("ZRule", bias=False),
    "EpsilonRule": alone("EpsilonRule"),
    "EpsilonRule(0.25)": alone("EpsilonRule", epsilon=0.25),
    "EpsilonRule(bias=False)": alone("EpsilonRule", epsilon=0.5, bias=False),
    "WSquareRule": alone("WSquareRule"),
    "FlatRule": alone("FlatRule"),
    "AlphaBetaRule(3, 2)": alone("AlphaBetaRule", alpha=3, beta=2),
    "AlphaBetaRule(alpha=1.5)": alone("AlphaBetaRule", alpha=1.5),
    "AlphaBetaRule(beta=0.25, bias=False)": alone("AlphaBetaRule", beta=0.25, bias=False),
    "AlphaBetaIgnoreBiasRule": alone("AlphaBetaIgnoreBiasRule", alpha=2.5),
    **{r: alone(r) for r in ("Alpha2Beta1Rule", "Alpha2Beta1IgnoreBiasRule", "Alpha1Beta0Rule")},
    **{r: alone(r) for r in ("Alpha1Beta0IgnoreBiasRule", "ZPlusRule", "ZPlusFastRule", "BoundedRule")},
    "BoundedRule(-3, 2)": alone("BoundedRule", low=-3, high=2),
    "BoundedRule(3, -2)": alone("BoundedRule", low=3, high=-2),
    "AlphaBetaXRule": alone("AlphaBetaXRule"),
    "AlphaBetaXRule(2, .5, .25, 1)": alone("AlphaBetaXRule", alpha=(2, 0.5), beta=(0.25, 1)),
    "AlphaBetaXRule(bias=False)": alone("AlphaBetaXRule", bias=False),
    **{f"AlphaBetaX{k}Rule": alone(f"AlphaBetaX{k}Rule") for k in ("1000", "1010", "1001", "2m100")},
}

ANALYZERS: dict[str, Case] = {
    **{k: named(k) for k in ("LRPZ", "LRPEpsilon", "LRPWSquare", "LRPFlat", "LRPZPlus", "LRPZPlusFast")},
    **{f"LRPAlpha{k}": named(f"LRPAlpha{k}") for k in ("2Beta1", "2Beta1IgnoreBias", "1Beta0", "1Beta0IgnoreBias")},
    "LRPEpsilon(0.25)": named("LRPEpsilon", epsilon=0.25),
    "LRPEpsilon(0.25, False)": named("LRPEpsilon", epsilon=0.25, bias=False),
    "LRPAlphaBeta(alpha=1.75)": named("LRPAlphaBeta", alpha=1.75),
    "LRPAlphaBeta(beta=2, bias=False)": named("LRPAlphaBeta", beta=2, bias=False),
    "LRPZ, Flat input": named("LRPZ", input_layer_rule="Flat"),
    "LRPZ, boxed input": named("LRPZ", input_layer_rule=(-2.5, 3)),
    "LRP by conditions": mixed(("is_dense_layer", "WSquareRule"), ("is_conv_layer", "ZPlusRule")),
    "LRP by conditions, WSquare input": mixed(
        ("is_input_layer", "FlatRule"), ("contains_kernel", "Alpha2Beta1Rule"), input_layer_rule="WSquare"
    ),
}

INNVESTIGATE: dict[str, Case] = {
    **RULES,
    **ANALYZERS,
    **{
        f"LRPSequentialPreset{k}": named(f"LRPSequentialPreset{k}")
        for k in ("A", "B", "AFlat", "BFlat", "BFlatUntilIdx")
    },
    "LRPSequentialPresetA(0.5)": named("LRPSequentialPresetA", epsilon=0.5),
    "LRPSequentialPresetA, two_linear": named("LRPSequentialPresetA", bn_layer_fuse_mode="two_linear"),
    "LRPSequentialPresetB, Epsilon BN": named("LRPSequentialPresetB", bn_layer_rule="Epsilon"),
    "LRPSequentialPresetBFlatUntilIdx(3)": named("LRPSequentialPresetBFlatUntilIdx", until_layer_idx=3),
    "LRPEpsilon until 2": lambda lib, model: lib.LRPEpsilon(
        model, epsilon=0.1, until_layer_idx=2, until_layer_rule=lib.ZPlusRule
    ),
    "LRPAlpha2Beta1, two_linear": named("LRPAlpha2Beta1", bn_layer_fuse_mode="two_linear"),
    "LRPWSquare, two_linear": named("LRPWSquare", bn_layer_fuse_mode="two_linear"),
    "LRP(rule='Z')": named("LRP", rule="Z"),
    "LRP by a list": named("LRP", rule=["Epsilon", "Flat", "ZPlus", "Z", "WSquare", "Epsilon"], bn_layer_rule="Z"),
    "LRP by a short list": named("LRP", rule=["Z"], bn_layer_rule="Z"),
    "DeepTaylor": named("DeepTaylor"),
    "BoundedDeepTaylor": named("BoundedDeepTaylor", low=-3, high=2.5),
}

SIGNXAI: dict[str, Case] = {
    **RULES,
    **ANALYZERS,
    "ZIgnoreBiasRule": alone("ZIgnoreBiasRule"),
    "EpsilonIgnoreBiasRule(0.25)": alone("EpsilonIgnoreBiasRule", epsilon=0.25),
    "StdxEpsilonRule": alone("StdxEpsilonRule"),
    "StdxEpsilonRule(1, False)": alone("StdxEpsilonRule", stdfactor=1, bias=False),
    "GammaRule(0.25)": alone("GammaRule", gamma=0.25),
    "GammaRule(2, False)": alone("GammaRule", gamma=2, bias=False),
    "SIGNRule": alone("SIGNRule"),
    "LRPZ, SIGN input": named("LRPZ", input_layer_rule="SIGN"),
    "LRPEpsilon, SIGNmu input": lambda lib, model: lib.LRPEpsilon(
        model, epsilon=0.1, input_layer_rule=lib.made(lib.SIGNmuRule, mu=0.5)
    ),
    **{
        k: named(k)
        for k in ("LRPZIgnoreBias", "LRPEpsilonIgnoreBias", "LRPStdxEpsilon", "LRPGamma", "LRPRuleUntilIndex")
    },
    "LRPStdxEpsilon(0.5, False)": named("LRPStdxEpsilon", stdfactor=0.5, bias=False),
    "LRPGamma(0.25)": named("LRPGamma", gamma=0.25),
    "LRPGamma(1.5, False)": named("LRPGamma", gamma=1.5, bias=False),
    **{f"LRPSequentialComposite{k}": named(f"LRPSequentialComposite{k}") for k in ("A", "B", "AFlat", "BFlat")},
    "LRPSequentialCompositeA(0.5)": named("LRPSequentialCompositeA", epsilon=0.5),
    "LRPRuleUntilIndex(2)": lambda lib, model: lib.LRPRuleUntilIndex(
        model,
        until_layer_idx=2,
        until_index_rule=lib.WSquareRule,
        default_rule_configuration=lib.LRPSequentialCompositeA,
    ),
}

SELECTED = ("LRPZ", "LRPEpsilon", "LRPFlat", "LRPAlpha2Beta1", "DeepTaylor")
"""The analyzers with which all ways to select neurons are tried."""

CORE = {
    "innvestigate": (
        "LRPZ", "LRPEpsilon(0.25)", "LRPAlpha2Beta1", "LRPZPlus", "LRPSequentialPresetAFlat", "DeepTaylor",
        "LRPSequentialPresetBFlatUntilIdx(3)", "AlphaBetaXRule(2, .5, .25, 1)", "BoundedDeepTaylor",
    ),
    "signxai": (
        "LRPZ", "LRPEpsilon(0.25)", "LRPAlpha2Beta1", "LRPZPlusFast", "LRPSequentialCompositeBFlat", "LRPStdxEpsilon",
        "LRPRuleUntilIndex(2)", "LRPGamma(0.25)", "LRPEpsilon, SIGNmu input", "LRPWSquare", "BoundedRule",
    ),
}  # fmt: skip
"""What is tried on every network; the rest on two or three each and on those of WIDE, as an answer takes a second."""

WIDE = (
    "mlp", "dense_bn", "conv", "pools", "bn_before", "bn_after", "residual", "depthwise", "separable", "conv1d",
    "transposed", "concat", "shared",
)  # fmt: skip
"""The networks on which every case is tried."""

ON_BATCHNORM = ("two_linear", "BN", "AlphaBetaX", "LRPZ", "WSquare")
BATCHNORM_NETS = ("dense_bn", "bn_before", "bn_after")


def samples(library: str, net: str) -> int:
    """How many samples to explain: SignXAI multiplies a batch by its first sample, where a BatchNorm stands, and raises."""
    return 1 if library == "signxai" and net in BATCHNORM_NETS else 3


def plan(library: str, nets: tuple[str, ...], every: bool = False) -> list[tuple[str, str, str]]:
    """What to compare, as (network, case, selection of neurons): by network, all of it or what CORE says."""
    cases = {"innvestigate": INNVESTIGATE, "signxai": SIGNXAI}[library]
    chosen = []
    for i, title in enumerate(cases):
        on = {nets[(5 * i) % len(nets)], nets[(5 * i + 11) % len(nets)], *WIDE}
        if any(part in title for part in ON_BATCHNORM):
            on.add(BATCHNORM_NETS[i % 3])
        if every or title in CORE[library]:
            on = set(nets)
        if "list" in title:
            on = {"mlp"}
        chosen += [(net, title, "index") for net in nets if net in on]
    others = ("mlp", "conv") if library == "innvestigate" else ("mlp", "pools", "residual", "concat")
    chosen += [
        (net, title, mode)
        for net in others
        for title in SELECTED
        for mode in ("max_activation", "all", "list")
        if title in cases
    ]
    return sorted(chosen, key=lambda each: nets.index(each[0]))


SEVERAL_READERS = ("residual", "concat", "merges")
"""The networks in which several layers read what a layer with a kernel makes."""


def raises(library: str, net: str, title: str) -> tuple[str, ...]:
    """What a library may raise, as observed; where it raises anything else, the tests fail."""
    return _innvestigate_raises(net, title) if library == "innvestigate" else _signxai_raises(net, title)


SIGNXAI_RAISES = {
    "softmax": ("NotAnalyzeableModelException",),  # its own functions take it off, before an analyzer sees the model
    "softmax_layer": ("NotAnalyzeableModelException",),
    "sigmoid_layer": (
        "InvalidArgumentError",
    ),  # it takes the function for the last layer, and all its values for relevance
    "conv1d": ("InvalidArgumentError",),  # a dense layer on a sequence
}
"""What SignXAI raises on a network whatever is asked for, or where a case leads to it."""


def _signxai_raises(net: str, title: str) -> tuple[str, ...]:
    if "AlphaBetaX" in title and "softmax" not in net:
        return ("ValueError", "TypeError")
    if net in ("doubled", "shared"):  # the operator +, a layer that is called twice
        return ("TypeError", "AttributeError", *(("ValueError",) if title == "SIGNRule" else ()))
    if title == "SIGNRule" or net in ("uncentred", "folded"):  # at the output; a batch before a BatchNorm
        return ("ValueError", *SIGNXAI_RAISES.get(net, ()))
    if net in SEVERAL_READERS and any(part in title for part in ("Bounded", "boxed", "SIGN")):
        return ("ValueError", "InvalidArgumentError", "AbortedError")
    return SIGNXAI_RAISES.get(net, ())


def _innvestigate_raises(net: str, title: str) -> tuple[str, ...]:
    if title == "LRP by a short list":
        return ("IndexError",)
    if title == "LRP(rule='Z')" and net in (*BATCHNORM_NETS, "uncentred", "folded"):  # bn_layer_rule=None
        return ("TypeError",)
    if title == "LRPSequentialPresetBFlatUntilIdx(3)" and net == "softmax":  # it has three layers
        return ("IndexError",)
    if "DeepTaylor" in title and net in ("activation_layers", "activations", "softmax_layer", "sigmoid_layer"):
        return ("NotImplementedError",)
    return ("TypeError",) if "DeepTaylor" in title and net == "embedding" else ()


def refused(library: str, net: str, title: str, mode: str) -> str:
    """What the dialect may say where a library answers and the dialect does not, or ""."""
    if library == "signxai" and mode == "max_activation" and title == "LRPAlpha2Beta1":
        return "give its index"
    counting = ("Flat", "WSquare", "Bounded", "boxed", "Stdx", "UntilIndex", "until", "conditions")
    if net in ("padded", "concat", "conv1d") and any(part in title for part in counting):
        return "ZeroPadding"
    if net == "folded":
        return "no node of the layers"
    return ""


def vanishes(library: str, title: str) -> bool:
    """Whether a library computes 0, but for a rule that stands on no layer, or on a separable one."""
    return library == "signxai" and ("Bounded" in title or "boxed" in title)
