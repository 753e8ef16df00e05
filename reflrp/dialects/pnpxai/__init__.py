"""pnpxai's four LRP explainers as composites: its names, its arguments, its numbers (those of pnpxai 0.1.4).

>>> from reflrp.dialects import pnpxai
>>> reflrp.explain(model, x, rules=pnpxai.LRPEpsilonPlus(), init="one")  # doctest: +SKIP
>>> pnpxai.LRPUniformEpsilon(layer="encoder*").attribute(model, x, targets=3)  # doctest: +SKIP

They are zennit's composites (see `reflrp.dialects.zennit`, whose remarks hold here too) with rules for attention and
LayerNorm before them:

- Attention: pnpxai's ConservativeAttentionPropagation, which stands on nn.MultiheadAttention, and on what its
  converters turn into one. Here it is every softmax that weighs values: relevance goes through the output projection,
  the values and their projection by LRP-epsilon with `stabilizer` (not `epsilon`), and stops at the softmax.
  pnpxai then gives the value's relevance to the key as well. Where key and value are the same, as in self-attention,
  relevance doubles: attention="doubled". Where they are not, the key's copy is left out here. attention="conservative"
  gives it to the value alone. attention="gradient" is what pnpxai does with attention that it does not convert.
- LayerNorm: `LayerNormRule`, whose variance is divided by n - 1. For a normalised shape of more than one axis pnpxai
  takes its statistics over all axes, the batch included; here they are over those axes. It always has the stabiliser
  1e-6: zennit makes a copy of each hook, in which pnpxai's LayerNormRule forgets its argument.
- `a + b` is zennit's Sum, also where b is a constant, which then keeps its share.
- LSTM, GRU and RNN: pnpxai lists them as supported and gives them a plain gradient: recurrent="gradient". By default
  they have rules here: Epsilon on dense maps, Norm on sums, of a product the signal takes all, activations pass.

pnpxai starts with 1 at the target: init="one". For several inputs it returns the first sample only; here all.
`n_classes` and the extractors of arguments are not needed.
"""

from reflrp.dialects.pnpxai.composites import (
    COMPOSITES,
    LRPEpsilonAlpha2Beta1,
    LRPEpsilonGammaBox,
    LRPEpsilonPlus,
    LRPUniformEpsilon,
)
from reflrp.dialects.pnpxai.rules import LayerNormRule, ValueProjection

__all__ = [
    "COMPOSITES",
    "LRPEpsilonAlpha2Beta1",
    "LRPEpsilonGammaBox",
    "LRPEpsilonPlus",
    "LRPUniformEpsilon",
    "LayerNormRule",
    "ValueProjection",
]
