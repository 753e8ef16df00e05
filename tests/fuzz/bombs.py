"""Bombs: files of some hundred bytes that ask for much memory or time, in each place where a file says a size.

An expression makes `b` of `a` (2, 4), `p` (1, 2, 2, 2), or of numbers: `n` and `m` in attributes, N1, N2 and N4 as shapes, S as a
scalar, F4 as factors. It stands on constants, on the input, on what is computed of shapes, in a loop, a branch or functions.
"""

from __future__ import annotations

import random
import re

import numpy as np
import onnx
from models import ints
from onnx import ModelProto, helper, numpy_helper

from fuzz.networks import tried

__all__ = ["BOMBS", "EXPRESSIONS", "make", "placed", "tried"]

NUMBERS = (
    *(
        0,
        1,
        -1,
        3,
        7,
        30,
        100,
        1000,
        5000,
        20_000,
        10**5,
        10**6,
        2**22,
        2**24,
        2**27,
        2**31 - 1,
        2**31,
        2**40,
        2**62,
        -(2**63),
    ),
)

BOMBS = (
    "b = ConstantOfShape(n)",
    "b = Expand(x, n)",
    "b = Tile(x, n)",
    "s = Squeeze(n) b0 = Range(zero, s, one) b = Cast <to = 1>(b0)",
    "b = Resize(x, , , n)",
    "b = Resize(x, , f)",
    "b = Upsample(x, f)",
    "b = Pad(x, n)",
    "s = Squeeze(n) b = OneHot(ids, s, values)",
    "e = ConstantOfShape(k) b = Expand(e, n)",
    "e = ConstantOfShape(k) b = Tile(e, n)",
    "e = ConstantOfShape(k) b = Pad(e, n)",
    "s = Squeeze(n) b = HannWindow(s)",
    "e = ConstantOfShape(k) c = Concat <axis = 0>(e, e, e, e) d = Concat <axis = 0>(c, c, c, c) b = Concat <axis = 0>(d, d)",
    "b = Concat <axis = -1>(x, x, x, x, x, x, x, x)",
    "e = ConstantOfShape(n) t = Unsqueeze(e, zeros) u = Unsqueeze(e, ones) b = Mul(t, u)",
    "b = CumSum(x, one)",
    "b = RandomNormal <shape = [1073741824, 64]>()",
    "b = EyeLike(x)",
    "s = Shape(x) p = Mul(s, n) b = ConstantOfShape(p)",
    "s = Shape(x) p = Mul(s, n) b = Expand(x, p)",
    "i = Cast <to = 7>(x) r = ReduceMax(i) m = Add(r, n) b = ConstantOfShape(m)",
    "b = CenterCropPad(x, n)",
    "b = MaxPool <kernel_shape = [1, 1], pads = [9999999, 9999999, 9999999, 9999999]>(x)",
    "b = AveragePool <kernel_shape = [9999, 9999], pads = [9998, 9998, 9998, 9998]>(x)",
)


"""Nodes that `fuzz.nested` puts into other models, and tests into small ones."""

TABLE = """
Conv pads: b = Conv <pads = [n, m, n, m]>(p, K)
Conv dilations: b = Conv <dilations = [n, m], pads = [n, m, n, m]>(p, K)
Conv kernel: k = ConstantOfShape(N4) b = Conv <pads = [9, 9, 9, 9]>(p, k)
ConvTranspose strides: b = ConvTranspose <strides = [n, m]>(p, K)
ConvTranspose output: b = ConvTranspose <output_shape = [n, m]>(p, K)
ConvTranspose padding: b = ConvTranspose <output_padding = [n, m], strides = [n, m]>(p, K)
ConvTranspose dilations: b = ConvTranspose <dilations = [n, m]>(p, K)
AveragePool kernel: b = AveragePool <kernel_shape = [n, m], pads = [n, m, n, m]>(p)
AveragePool ceil: b = AveragePool <kernel_shape = [2, 2], strides = [n, m], pads = [n, m, n, m], ceil_mode = 1>(p)
AveragePool dilations: b = AveragePool <kernel_shape = [2, 2], dilations = [n, m], pads = [n, m, n, m]>(p)
LpPool: b = LpPool <kernel_shape = [n, m], p = m, pads = [n, m, n, m]>(p)
MaxPool: b = MaxPool <kernel_shape = [n, m], pads = [n, m, n, m], dilations = [1, m]>(p)
GlobalLpPool: b = GlobalLpPool <p = n>(p)
MaxUnpool: i = Cast <to = 7>(p) b = MaxUnpool <kernel_shape = [n, m]>(p, i)
MaxRoiPool: r = Reshape(R, S5) b = MaxRoiPool <pooled_shape = [n, m]>(p, r)
RoiAlign: b = RoiAlign <output_height = n, output_width = m, sampling_ratio = m>(p, R, Z1)
RoiAlign samples: b = RoiAlign <output_height = 1, output_width = 1, sampling_ratio = n>(p, R, Z1)
Resize sizes: b = Resize(p, , , N4)
Resize factors: b = Resize(p, , F4)
Resize cubic: b = Resize <mode = "cubic">(p, , , N4)
Resize antialias: b = Resize <mode = "linear", antialias = 1>(p, , , N4)
GridSample: t = Expand(Q, G4) b = GridSample(p, t)
AffineGrid: b = AffineGrid(T, N4)
DFT: u = Reshape(a, S4) b = DFT(u, S)
STFT: u = Reshape(a, S3) b = STFT(u, S, , S)
MelWeightMatrix: b = MelWeightMatrix(S, S, H, L, U)
HannWindow: b = HannWindow(S)
BlackmanWindow: b = BlackmanWindow(S)
Col2Im: b = Col2Im <pads = [n, m, n, m]>(C, N2, Two)
CumSum: e = Expand(a, N2) b = CumSum(e, One)
CumSum chain: e = Expand(a, M2) c0 = CumSum(e, One) c1 = CumSum(c0, One) c2 = CumSum(c1, One) b = CumSum(c2, Zero)
TopK: b, i = TopK(a, N1)
Unique: e = Expand(a, M2) b, i, j, k = Unique(e)
NonZero: e = Expand(a, M2) b = NonZero(e)
Trilu: e = Expand(a, M2) b = Trilu(e, S)
EyeLike: e = Expand(a, M2) b = EyeLike <k = n>(e)
Multinomial: b = Multinomial <sample_size = n>(a)
RandomNormal: b = RandomNormal <shape = [n, m]>()
RandomUniformLike: e = Expand(a, M2) b = RandomUniformLike(e)
Split: e = Expand(a, M2) q = SplitToSequence <keepdims = 0>(e) b = ConcatFromSequence <axis = 0>(q)
SequenceInsert: q = SequenceConstruct(a, a) q1 = SequenceInsert(q, a) b = ConcatFromSequence <axis = 0>(q1)
Einsum: e = Expand(One, V) ef = Cast <to = 1>(e) b = Einsum <equation = "a,b,c,d->abcd">(ef, ef, ef, ef)
Einsum sums: e = Expand(One, V) ef = Cast <to = 1>(e) b = Einsum <equation = "a,b,c,d,e->">(ef, ef, ef, ef, ef)
MatMul chain: e = Expand(A1, K2) c1 = MatMul(e, e) c2 = MatMul(c1, e) c3 = MatMul(c2, e) c4 = MatMul(c3, e) b =
    MatMul(c4, e)
Gather: i = ConstantOfShape <value = int64[1] {0}>(N2) b = Gather(a, i)
GatherND: i = ConstantOfShape <value = int64[1] {0}>(M2) b = GatherND(a, i)
ScatterND: e = ConstantOfShape(N2) b = ScatterND(e, Two1, A1r)
OneHot: b = OneHot(Two, S, FF)
OneHot wide: i = ConstantOfShape <value = int64[1] {0}>(V) b = OneHot(i, S, FF)
Range: r = Range(Zero, S, One) b = Cast <to = 1>(r)
Expand: b = Expand(A1, N4)
Tile: b = Tile(a, N2)
Pad: b = Pad(a, N4)
Pad wrap: b = Pad <mode = "wrap">(a, N4)
Pad reflect: b = Pad <mode = "reflect">(a, N4)
Concat: c0 = Concat <axis = 0>(a, a, a, a, a, a, a, a) c1 = Concat <axis = 0>(c0, c0, c0, c0, c0, c0, c0, c0) c2 =
    Concat <axis = 0>(c1, c1, c1, c1, c1, c1, c1, c1) c3 = Concat <axis = 0>(c2, c2, c2, c2, c2, c2, c2, c2) c4 =
    Concat <axis = 0>(c3, c3, c3, c3, c3, c3, c3, c3) c5 = Concat <axis = 0>(c4, c4, c4, c4, c4, c4, c4, c4) b =
    Concat <axis = 0>(c5, c5, c5, c5, c5, c5, c5, c5)
kept: c0 = Expand(A1, V) c1 = Add(c0, A1) c2 = Add(c1, A1) c3 = Add(c2, A1) c4 = Add(c3, A1) c5 = Add(c4, A1) c6 =
    Add(c5, A1) c7 = Add(c6, A1) c8 = Add(c7, A1) c9 = Add(c8, A1) b = Sum(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9)
outer: e = Expand(A1, V) t = Unsqueeze(e, Zero1) u = Unsqueeze(e, One1) b = Mul(t, u)
compare: e = Expand(A1, V) t = Unsqueeze(e, Zero1) u = Unsqueeze(e, One1) c = Less(t, u) b = Cast <to = 1>(c)
Where: e = Expand(A1, V) t = Unsqueeze(e, Zero1) u = Unsqueeze(e, One1) c = Less(e, A1) b = Where(c, t, u)
SpaceToDepth: b = SpaceToDepth <blocksize = n>(p)
DepthToSpace: b = DepthToSpace <blocksize = n>(p)
LRN: b = LRN <size = n>(p)
GroupNormalization: b = GroupNormalization <num_groups = n>(p, FF, FF)
Shape: e = ConstantOfShape(N1) s = Shape(e) b = Cast <to = 1>(s)
BitShift: u = Cast <to = 13>(a) v = BitShift <direction = "LEFT">(u, u) b = Cast <to = 1>(v)
Pow: i = Cast <to = 7>(a) b = Pow(i, S)
NonMaxSuppression: e = Expand(B3, B0) s = Expand(A1, C0) b = NonMaxSuppression(e, s, S)
DeformConv: o = ConstantOfShape(N4) b = DeformConv(p, K, o)
LSTM: e = Expand(A1, L3) h, l = LSTM <hidden_size = 1>(e, W, W) b = Squeeze(h)
GRU: e = Expand(A1, L3) h, l = GRU <hidden_size = 1>(e, W3, W3) b = Squeeze(h)
RNN hidden: e = Expand(A1, L3) h, l = RNN <hidden_size = n>(e, W1, W1) b = Squeeze(h)
Attention: e = Expand(A1, L4) b = Attention(e, e, e)
ImageDecoder: d = Constant <value = uint8[12] {37, 33, 80, 83, 45, 65, 100, 111, 98, 101, 45, 51}>() i =
    ImageDecoder(d) b = Cast <to = 1>(i)
ImageDecoder eps: i = ImageDecoder(EPS) b = Cast <to = 1>(i)
RegexFullMatch: r = RegexFullMatch <pattern = "(a|a)*(a|a)*(a|a)*(a+)+x">(Text) b = Cast <to = 1>(r)
RegexFullMatch nested: r = RegexFullMatch <pattern = "((((a*)*)*)*)*b">(Text) b = Cast <to = 1>(r)
StringConcat: t0 = StringConcat(Text, Text) t1 = StringConcat(t0, t0) t2 = StringConcat(t1, t1) t3 =
    StringConcat(t2, t2) t4 = StringConcat(t3, t3) t5 = StringConcat(t4, t4) t6 = StringConcat(t5, t5) t7 =
    StringConcat(t6, t6) e = Expand(t7, V) c = Equal(e, Text) b = Cast <to = 1>(c)
StringSplit: t, c = StringSplit <delimiter = "a">(Text) b = Cast <to = 1>(c)
StringNormalizer: t = StringNormalizer <case_change_action = "UPPER">(Text) c = Equal(t, Text) b = Cast <to = 1>(c)
TfIdfVectorizer: i = Cast <to = 6>(a) b = TfIdfVectorizer <max_gram_length = n, min_gram_length = 1, max_skip_count
    = m, mode = "TF", ngram_counts = [0], ngram_indexes = [0, m], pool_int64s = [1, 2]>(i)
tree: b = ai.onnx.ml.TreeEnsembleRegressor <n_targets = n, nodes_featureids = [0, 0], nodes_falsenodeids = [0, 0],
    nodes_truenodeids = [0, 0], nodes_modes = ["BRANCH_LEQ", "LEAF"], nodes_nodeids = [0, 1], nodes_treeids = [0,
    0], nodes_values = [0.0, 0.0], target_ids = [0], target_nodeids = [1], target_treeids = [0], target_weights =
    [1.0]>(a)
tree classes: l, b = ai.onnx.ml.TreeEnsembleClassifier <class_ids = [0, m], class_nodeids = [1, 1], class_treeids =
    [0, 0], class_weights = [1.0, 1.0], classlabels_int64s = [0, 1], nodes_falsenodeids = [1, 0], nodes_featureids =
    [n, 0], nodes_modes = ["BRANCH_LEQ", "LEAF"], nodes_nodeids = [0, 1], nodes_treeids = [0, 0], nodes_truenodeids
    = [0, 0], nodes_values = [0.0, 0.0]>(a)
SVM: b = ai.onnx.ml.SVMRegressor <coefficients = [1.0], kernel_params = [1.0, 1.0, 9.0e9], kernel_type = "POLY",
    n_supports = n, rho = [0.0], support_vectors = [1.0, 2.0, 3.0, 4.0]>(a)
FeatureVectorizer: b = ai.onnx.ml.FeatureVectorizer <inputdimensions = [n, m]>(a, a)
OneHotEncoder: b = ai.onnx.ml.OneHotEncoder <cats_int64s = [1, 2], zeros = 1>(a)
Loop: b = Loop (S, , a) <body = l (int64 i, bool c, float[2,4] h) => (bool d, float[2,4] g) { d = Identity(c) g =
    Tanh(h) }>
Loop scans: h0, b = Loop (S, , a) <body = l (int64 i, bool c, float[2,4] h) => (bool d, float[2,4] g, float[2,4] o)
    { d = Identity(c) g = Tanh(h) o = Tanh(h) }>
Loop grows: b = Loop (S, , a) <body = l (int64 i, bool c, float[K,4] h) => (bool d, float[M,4] g) { d = Identity(c)
    g = Concat <axis = 0>(h, h) }>
Loop forever: b = Loop (, True, a) <body = l (int64 i, bool c, float[2,4] h) => (bool d, float[2,4] g) { d =
    Identity(c) g = Neg(h) }>
loops: b = Loop (S, , a) <body = l (int64 i, bool c, float[2,4] h) => (bool d, float[2,4] g) { d = Identity(c) g =
    Loop (S, , h) <body = k (int64 j, bool e, float[2,4] u) => (bool f, float[2,4] v) { f = Identity(e) v = Loop (S,
    , u) <body = q (int64 o, bool r, float[2,4] s) => (bool t, float[2,4] w) { t = Identity(r) w = Neg(s) }> }> }>
Scan: e = Expand(A1, M2) z, b = Scan (A1r, e) <num_scan_inputs = 1, body = l (float[4] s, float[4] r) => (float[4]
    t, float[4] u) { t = Add(s, r) u = Neg(t) }>
SequenceMap: e = Expand(a, M2) q = SplitToSequence <keepdims = 0>(e) r = SequenceMap (q) <body = l (float[4] s) =>
    (float[4] t) { t = Neg(s) }> b = ConcatFromSequence <axis = 0>(r)
"""

EXPRESSIONS = dict(line.split(": ", 1) for line in TABLE.replace("\n    ", " ").strip().splitlines())
"""Every operator whose size is written in attributes or inputs, or that turns in circles."""

PLACES = {
    "folded": "a = Identity(A24)",
    "active": "a = Identity(x)",
    "plumbing": "s_ = Shape(x) z_ = ReduceProd <keepdims = 0>(s_) f_ = Cast <to = 1>(z_) a = Expand(f_, K24)",
}
"""Where `a` comes from."""


def make(chance: random.Random) -> bytes:
    """Return a bomb."""
    from fuzz.files import FILES

    if chance.random() < 0.15:
        return chance.choice(list(FILES.values()))(chance).SerializeToString()
    name, place = chance.choice(list(EXPRESSIONS)), chance.choice([*PLACES, "folded", "loop", "branch", "function"])
    return placed(name, place, chance.choice(NUMBERS), chance.choice(NUMBERS)).SerializeToString()


def placed(name: str, place: str, n: int, m: int) -> ModelProto:
    """Return the model in which an expression stands, on constants, on the input, or in a body."""
    body = f"p = Reshape(a, P4) {_written(EXPRESSIONS[name], n, m)} bf = Cast <to = 1>(b) k_ = ReduceMax <keepdims = 0>(bf)"
    functions = ""
    if place == "loop":
        inner = f"l_ (int64 i_, bool c_, float[2,4] a) => (bool d_, float[2,4] g_) {{ d_ = Identity(c_) {body} g_ = Mul(a, k_) }}"
        text = f"y = Loop (Three, , x) <body = {inner}>"
    elif place == "branch":
        inner = f"t_ () => (float[2,4] q_) {{ a = Identity(A24) {body} q_ = Mul(x, k_) }}"
        text = f"y = If (True) <then_branch = {inner}, else_branch = e_ () => (float[2,4] r_) {{ r_ = Neg(x) }}>"
    elif place == "function":
        opsets = 'opset_import: ["" : 21, "ai.onnx.ml" : 3, "own" : 1]'
        given = [k for k in constants(n, m) if f"{k}" in body]
        functions = f'<domain: "own", {opsets}> f ({", ".join(["x", *given])}) => (y) {{ a = Identity(x) {body} y = Mul(x, k_) }}'
        call = ", ".join(given)
        text = " ".join(f"y{i + 1} = own.f(y{i}, {call})" for i in range(8)).replace("y0,", "x,") + " y = Neg(y8)"
    else:
        text = f"{PLACES[place]} {body} y = Mul(x, k_)"
    return parsed(text, constants(n, m), functions)


def _written(text: str, n: int, m: int) -> str:
    return re.sub(r"\b[nm]\b", lambda found: str({"n": n, "m": m}[found[0]]), text)


def constants(n: int, m: int) -> dict[str, np.ndarray]:
    """Return the arrays that expressions name."""
    small = max(1, min(abs(n), 3000))
    one, f = np.ones((1, 1), np.float32), np.float32
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n(r) run\n%%EOF\n"
    return {
        "K": np.ones((2, 2, 1, 1), f), "N1": ints(n), "N2": ints(n, m), "N4": ints(1, 2, n, m),
        "G4": ints(1, n, m, 2), "S": np.int64(n), "F4": np.array([1, 1, n, m], f), "M2": ints(min(abs(n), 10**7), 4),
        "V": ints(min(abs(n), 2**22)), "K2": ints(small, small), "L3": ints(min(abs(n), 10**7), 1, 1),
        "L4": ints(1, 1, small, 4), "B0": ints(1, small, 4), "C0": ints(1, 1, small), "P4": ints(1, 2, 2, 2),
        "K24": ints(2, 4), "A24": np.arange(8, dtype=f).reshape(2, 4), "A1": one, "A1r": np.ones((1, 4), f)[0],
        "One": np.int64(1), "Zero": np.int64(0), "Zero1": ints(0), "One1": ints(1), "Three": np.int64(3),
        "Two": ints(1, 1), "Two1": ints(0), "True": np.array(True), "R": np.array([[0, 0, 9, 9]], f), "Z1": ints(0),
        "S5": ints(-1, 4), "Q": np.zeros((1, 1, 1, 2), f), "T": np.ones((1, 2, 3), f), "S4": ints(1, 4, 2),
        "S3": ints(1, 8, 1), "H": np.int64(8000), "L": f(0), "U": f(4000), "C": np.ones((1, 1, 1), f),
        "FF": np.array([0, 1], f), "B3": np.ones((1, 1, 4), f), "W": np.ones((1, 4, 1), f),
        "W3": np.ones((1, 3, 1), f), "W1": np.ones((1, 1, 1), f), "Text": np.array(["a" * 40]),
        "EPS": np.frombuffer(eps, np.uint8),
    }  # fmt: skip


def parsed(body: str, arrays: dict[str, np.ndarray], functions: str = "", opset: int = 21) -> ModelProto:
    """Return the model `(x) => (y) { body }` with those of the arrays that it names."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}, "ai.onnx.ml" : 3, "own" : 1]>'
    proto = onnx.parser.parse_model(f"{head} net (float[N,4] x) => (float[] y) {{ {body} }} {functions}")
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    for name, array in arrays.items():
        if name in words and array.dtype.kind == "U":
            proto.graph.initializer.append(
                helper.make_tensor(name, onnx.TensorProto.STRING, array.shape, [str(t).encode() for t in array])
            )
        elif name in words:
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return proto
