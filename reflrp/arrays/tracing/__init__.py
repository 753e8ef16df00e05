"""Tracing: what a formula over symbolic arrays leaves behind is a graph of terms, each one node of ONNX.

`dims` has lengths that depend on the batch size, `terms` the graph, `moves` and `arithmetic` write terms and leave out those
that are known to do nothing, `windows` those of convolutions and pools, `array` is what a formula holds in its hands. None
of it knows ONNX's format: `reflrp.compiler` writes the file.
"""
