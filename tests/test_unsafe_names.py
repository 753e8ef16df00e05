"""Names that are made up, for the parts of a node, do not meet those of the file."""

import numpy as np
import onnx
from models import draw, model, onnxruntime

import reflrp


def same(proto, feeds):
    found, wanted = reflrp.load(proto).run(feeds), onnxruntime(proto, feeds)
    return all(np.allclose(found[k], wanted[k], atol=1e-5) for k in wanted)


def test_parts_of_a_node():
    """The Gemm's parts are `g:product`, `g:alpha`; the file has nodes of these names before and behind."""
    text = """[g_product] a = Relu(x) [g] b = Gemm<alpha = 2.0, beta = 0.5, transB = 1>(a, x, c)
        [g_alpha] d = Mul(b, k) [last] y = Neg(d)"""
    proto = model(text, "float[4,4] x", c=(4,), k=(4,))
    for node in proto.graph.node:
        node.name = node.name.replace("_", ":")
        for i, name in enumerate(node.output):
            node.output[i] = {"a": "b:alpha", "d": "b:product"}.get(name, name)
        for i, name in enumerate(node.input):
            node.input[i] = {"a": "b:alpha", "d": "b:product"}.get(name, name)
    assert same(proto, {"x": draw(4, 4)})
    graph = reflrp.load(proto).graph({"x": (4, 4)})
    names = [n.name for n in graph.nodes]
    assert len(set(names)) == len(names)
    assert {"g:product", "g:alpha", "g", "last"} <= set(names)
    assert graph.producers()["b:product"].name == "g:alpha"
    reflrp.explain(proto, draw(4, 4), "epsilon", target=0)


BODY = "body (int64 i, bool go, float[2,3] s) => (bool on, float[2,3] t) { on = Identity(go) [inner] t = Mul(s, w) }"


def looped(names):
    """A chain of nodes with the given names of nodes and values, then a loop of two steps, and the sum of both."""
    proto = model("y = Relu(x)", "float[2,3] x", w=(3,), v=(3,), count=np.int64(2), true=np.array(True))
    del proto.graph.node[:]
    last = "x"
    for node, value in names:
        proto.graph.node.add(op_type="Mul", input=[last, "v"], output=[value], name=node)
        last = value
    body = onnx.parser.parse_graph(BODY)
    proto.graph.node.append(onnx.helper.make_node("Loop", ["count", "true", "x"], ["z"], name="loop", body=body))
    proto.graph.node.add(op_type="Add", input=["z", last], output=["y"], name="sum")
    return proto


def test_the_inside_of_a_loop():
    """What a loop's steps are called where nothing is in the way, the file itself has, too."""
    feeds = {"x": draw(2, 3)}
    made = [(n.name, n.output) for n in reflrp.load(looped([])).graph({"x": (2, 3)}).nodes if n.name.startswith("loop")]
    assert len(made) == 2
    for names in (made, made[::-1], [(a, b) for (a, _), (_, b) in zip(made, made[::-1], strict=True)]):
        proto = looped(names)
        assert same(proto, feeds)
        nodes = reflrp.load(proto).graph({"x": (2, 3)}).nodes
        assert len({n.name for n in nodes}) == len({n.output for n in nodes}) == len(nodes) == 5
        e = reflrp.explain(proto, feeds, "epsilon", target=0)
        assert np.isclose(e.relevance.sum(), e.conservation.seed, rtol=1e-4)
