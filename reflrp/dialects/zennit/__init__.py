"""zennit's rules, composites and canonizers: its names, its arguments, its numbers (those of zennit 0.5.1 and 1.0.0).

>>> from reflrp.dialects import zennit
>>> reflrp.explain(model, x, rules=zennit.EpsilonGammaBox(low=-3, high=3), init="one")  # doctest: +SKIP
>>> reflrp.explain(model, x, rules="zennit.EpsilonPlusFlat")  # doctest: +SKIP
>>> rules = zennit.composite(theirs, model, network)  # a living composite, on a torch network  # doctest: +SKIP

A rule alone, as `rules=zennit.Gamma(0.5)`, means: it on every linear layer (zennit's type Linear), `layer_map_base()`
on the rest. Layer maps take the types of `zennit.types`, those of `zennit.nn` (the names of torch.nn), any matcher of
`reflrp.composites`, and the classes of torch.nn and zennit themselves.

zennit hooks modules; an ONNX graph holds operators and does not say which of them were modules. So:

- A node is taken for the module that writes it: a Relu for nn.ReLU, even where the network calls relu(x).
- An Add of two values that carry relevance is zennit's Sum, as after its ResNetCanonizer. (Without one, zennit hands
  the whole relevance to both summands of a `+`; no rule here does.) A Sub, and an Add of a constant, is no module.
- AvgPool is AveragePool, GlobalAveragePool, and a ReduceMean over all spatial axes that keeps them, which is how
  exporters write adaptive pools. Without keepdims it is `x.mean((2, 3))`: no module.
- nn.Linear is a product with one constant matrix on the right, and the bias added to it.
- What has no module or no entry in the map is a plain gradient, as in zennit: max-pools (all to the first largest),
  products, factors, softmax, LayerNorm, ReduceSum, BatchNorm in ExcitationBackprop.
- "First layer" is one node, the first in the graph's order that `first_map` fits: in zennit it is the first in the
  order of registration. Where a network registers its modules in another order than it runs them, the two differ.
- Activations are zennit's list: not Softmax, LogSoftmax, Mish. Exporters take some apart. What the import recognises
  (SiLU, GELU, Softsign ...) is one node again, also where the network itself writes x * sigmoid(x). Hardshrink,
  Softshrink and Threshold stay apart: where they cut, relevance stays, and zennit lets it pass. The sigmoid in a GLU
  is taken for nn.Sigmoid.
- Modules that share weights or are called several times are right here, and wrong in zennit.
- A BatchNormalization node has the rule Pass. Canonizers merge it into the layer before, see
  `SequentialMergeBatchNorm`; exporters often have done so already.

Where the answer starts is not part of the dialect. zennit is told, as `attr_output`; here `init="one"` is 1 at the
target, "output" the output there, and an array anything else. Where a network ends in a softmax, zennit starts behind
it, `Explainer` before it unless `strip=False`.
"""

from reflrp.dialects.zennit import nn, types
from reflrp.dialects.zennit.canonizers import (
    Canonizer,
    CompositeCanonizer,
    ResNetBasicBlockCanonizer,
    ResNetBottleneckCanonizer,
    ResNetCanonizer,
    SequentialMergeBatchNorm,
    VGGCanonizer,
)
from reflrp.dialects.zennit.composites import (
    COMPOSITES,
    BetaSmooth,
    DeconvNet,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    ExcitationBackprop,
    GuidedBackprop,
    register_composite,
)
from reflrp.dialects.zennit.core import Stabilizer, stabilize
from reflrp.dialects.zennit.export import to_zennit
from reflrp.dialects.zennit.living import composite
from reflrp.dialects.zennit.maps import (
    LayerMapComposite,
    MixedComposite,
    NameLayerMapComposite,
    NameMapComposite,
    SpecialFirstLayerMapComposite,
    layer_map_base,
)
from reflrp.dialects.zennit.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Norm,
    Pass,
    ReLUBetaSmooth,
    ReLUDeconvNet,
    ReLUGuidedBackprop,
    WSquare,
    ZBox,
    ZPlus,
)
from reflrp.dialects.zennit.types import (
    Activation,
    AvgPool,
    BatchNorm,
    Convolution,
    ConvolutionStandard,
    ConvolutionTranspose,
    Linear,
    MaxPool,
    Sum,
)

__all__ = [
    "COMPOSITES",
    "Activation",
    "AlphaBeta",
    "AvgPool",
    "BatchNorm",
    "BetaSmooth",
    "Canonizer",
    "CompositeCanonizer",
    "Convolution",
    "ConvolutionStandard",
    "ConvolutionTranspose",
    "DeconvNet",
    "Epsilon",
    "EpsilonAlpha2Beta1",
    "EpsilonAlpha2Beta1Flat",
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "ExcitationBackprop",
    "Flat",
    "Gamma",
    "GuidedBackprop",
    "LayerMapComposite",
    "Linear",
    "MaxPool",
    "MixedComposite",
    "NameLayerMapComposite",
    "NameMapComposite",
    "Norm",
    "Pass",
    "ReLUBetaSmooth",
    "ReLUDeconvNet",
    "ReLUGuidedBackprop",
    "ResNetBasicBlockCanonizer",
    "ResNetBottleneckCanonizer",
    "ResNetCanonizer",
    "SequentialMergeBatchNorm",
    "SpecialFirstLayerMapComposite",
    "Stabilizer",
    "Sum",
    "VGGCanonizer",
    "WSquare",
    "ZBox",
    "ZPlus",
    "composite",
    "layer_map_base",
    "nn",
    "register_composite",
    "stabilize",
    "to_zennit",
    "types",
]
