"""What of a file is run: the one list of operators that are evaluated, and why others are not.

A model is data, and a stranger's model is a stranger's data. Most of it is never run: it becomes a graph of our own ops.
But what depends on constants only is computed when the file is loaded, and what carries no relevance (shapes, masks,
positions) is computed beside the graph; both by ONNX's reference code. That code can do more than arithmetic: it decodes
images (an EPS starts Ghostscript), matches regular expressions, walks trees that a file may tie into a ring, draws random
numbers. So it is given operators of this list only, one node at a time: arithmetic whose cost follows from the shapes of
its inputs and from its attributes, which `reflrp.importer.nodes.cost` counts before it begins. Subgraphs are not given to it at
all: `reflrp.importer.loops.branches` runs those node by node.

Texts are data too: they may be constants, may be looked up, moved and cast, as the labels of a classifier are. Nothing
computes with them.
"""

from __future__ import annotations

ML = "ai.onnx.ml"


def _named(text: str) -> frozenset[str]:
    return frozenset(text.split())


RANDOM = _named("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike")
"""Operators that draw random numbers."""

CONTROL_FLOW = _named("If Loop Scan SequenceMap")
"""Operators that run subgraphs."""

BUILT = CONTROL_FLOW | _named("SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SplitToSequence")
"""These, and operators that make sequences of tensors: never folded, always built."""

ENTRYWISE = _named("""
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
    CastLike Ceil Celu Clip Cos Cosh Div Dropout Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid
    HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow
    Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh
    ThresholdedRelu Where Xor
""")
"""One number out for each number in."""

ALONG_AXES = _named("""
    ArgMax ArgMin BatchNormalization CumProd CumSum GlobalAveragePool GlobalMaxPool GroupNormalization Hardmax
    InstanceNormalization LayerNormalization LogSoftmax LpNormalization MeanVarianceNormalization RMSNormalization
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    Softmax TopK Unique
""")
"""Sums, extremes, norms and orders along axes."""

MOVES = _named("""
    CenterCropPad Compress Concat Constant ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather GatherElements
    GatherND NonZero OneHot Pad Range Reshape ReverseSequence Scatter ScatterElements ScatterND Shape Size Slice
    SpaceToDepth Split Squeeze TensorScatter Tile Transpose Trilu Unsqueeze
""")
"""Entries moved, repeated, counted, or made from a shape."""

PRODUCTS = _named("""
    Conv ConvInteger ConvTranspose Det Einsum GRU Gemm LSTM MatMul MatMulInteger QLinearConv QLinearMatMul RNN
""")
"""Sums of products."""

WINDOWED = _named("""
    AffineGrid AveragePool BlackmanWindow Col2Im DFT GlobalLpPool GridSample HammingWindow HannWindow LRN LpPool
    MaxPool MaxUnpool MelWeightMatrix Resize Upsample
""")
"""Windows, grids and resampling."""

QUANTISED = _named("DequantizeLinear DynamicQuantizeLinear QuantizeLinear")
"""Scales and zero points."""

CLASSIC = _named("""
    ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LabelEncoder LinearClassifier LinearRegressor Normalizer
    OneHotEncoder Scaler
""")
"""What scikit-learn's models have beside their layers: columns, labels and scales."""

ALLOWED = frozenset(
    [("", op) for op in ENTRYWISE | ALONG_AXES | MOVES | PRODUCTS | WINDOWED | QUANTISED] + [(ML, op) for op in CLASSIC]
)
"""(domain, operator): all that ONNX's reference code is given. What is not here is not run."""

IN_SEQUENCES = BUILT | frozenset(["ConcatFromSequence", "SequenceAt", "SequenceLength"])
"""Subgraphs and sequences: the importer's builders take them apart, and `branches` runs what is left of them."""

WHY_NOT = {
    **dict.fromkeys(
        RANDOM, "it draws random numbers, so that no two explanations would agree; export it for inference"
    ),
    "ImageDecoder": "it decodes images by code that may start other programs; decode them before the model",
    **dict.fromkeys(
        ["CategoryMapper", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"],
        "it computes with texts; do that before the model",
    ),
    **dict.fromkeys(
        ["SVMClassifier", "SVMRegressor", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"],
        "trees and kernel machines are no layers, and are not walked either",
    ),
}
"""Reasons that a message gives, where there is more to say than that the operator is not on the list."""


def evaluable(domain: str, op_type: str) -> bool:
    """Return whether ONNX's reference code may run an operator."""
    return (domain, op_type) in ALLOWED


def why_not(op_type: str) -> str:
    """Return why an operator that is not on the list is not run."""
    return WHY_NOT.get(op_type, "it is not among the operators that reflrp evaluates")
