"""Small networks, written in ONNX's text form; their weights are drawn, small and dyadic."""

import numpy as np
import onnx
from maps import dyadic


def build(text, seed=0):
    """The model of a text; what it declares behind the graph's head is filled with weights."""
    net, rng = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}'), np.random.default_rng(seed)
    for info in net.graph.value_info:
        dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
        w = dyadic(rng, dims).astype(np.float32)
        w = abs(w) + 0.5 if info.name.startswith("var") else w
        net.graph.initializer.append(onnx.numpy_helper.from_array(w, info.name))
    del net.graph.value_info[:]
    return net


MLP = """net (float[N, 4] x) => (float[N, 3] y)
<float[4, 5] w1, float[5] b1, float[5, 3] w2, float[3] b2>
{
    h = Gemm(x, w1, b1)
    r = Relu(h)
    y = Gemm(r, w2, b2)
}"""

RESNET = """net (float[N, 2, 6, 6] x) => (float[N, 3] y)
<float[4, 2, 3, 3] w1, float[4] gamma1, float[4] beta1, float[4] mean1, float[4] var1,
 float[4, 4, 3, 3] w2, float[4] b2, float[4, 4, 1, 1] w3, float[3, 4] w4, float[3] b4>
{
    [conv1] c1 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w1)
    [bn1] n1 = BatchNormalization(c1, gamma1, beta1, mean1, var1)
    [relu1] r1 = Relu(n1)
    [pool1] p1 = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r1)
    [conv2] c2 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p1, w2, b2)
    [relu2] r2 = Relu(c2)
    [conv3] c3 = Conv<kernel_shape = [1, 1]>(r2, w3)
    [add] s = Add(c3, p1)
    [relu3] r3 = Relu(s)
    [gap] g = GlobalAveragePool(r3)
    [flatten] f = Flatten(g)
    [fc] y = Gemm<transB = 1>(f, w4, b4)
}"""

INCEPTION = """net (float[N, 2, 5, 5] x) => (float[N, 2] y)
<float[3, 2, 1, 1] w1, float[3] b1, float[2, 2, 3, 3] w2, float[2] b2, float[6, 1, 3, 3] w3,
 float[2, 6] w4, float[7] gamma, float[7] beta, float[7] mean, float[7] var, float[3, 7, 1, 1] w5>
{
    [left] a = Conv<kernel_shape = [1, 1]>(x, w1, b1)
    [right] b = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w2, b2)
    [pool] c = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)
    [concat] d = Concat<axis = 1>(a, b, c)
    [bn] e = BatchNormalization(d, gamma, beta, mean, var)
    [relu] f = Relu(e)
    [mix] m = Conv<kernel_shape = [1, 1]>(f, w5)
    [relu2] h = Relu(m)
    [twice] t = Concat<axis = 1>(h, h)
    [depthwise] g = Conv<kernel_shape = [3, 3], strides = [2, 2], group = 6>(t, w3)
    [relu3] i = Relu(g)
    [gap] j = ReduceMean<axes = [2, 3], keepdims = 0>(i)
    [fc] y = Gemm<transB = 1>(j, w4)
}"""

NETS = {"mlp": (MLP, (4,)), "resnet": (RESNET, (2, 6, 6)), "inception": (INCEPTION, (2, 5, 5))}


def net(name, seed=0):
    """A network of the table, and a batch of three inputs."""
    text, shape = NETS[name]
    return build(text, seed), dyadic(np.random.default_rng(seed + 100), (3, *shape))
