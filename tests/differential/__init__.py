"""Random graphs of all kinds of operators, and what must hold of each: a differential fuzzer.

| room | holds |
|---|---|
| `case`, `draft`, `generate` | a network in blocks; how it grows, each node computed at once; which number makes which |
| `layers`, `pointwise`, `meetings`, `routes`, `flows` | the makers of blocks |
| `evaluate`, `known` | one node by onnxruntime and by ONNX's reference code; where one of them is wrong, and why |
| `forward` | the forward pass three ways |
| `literal`, `words`, `whole` | rules as formulas on dense matrices; relevance from the ONNX nodes alone |
| `nodes` | relevance of every value, each node of reflrp's graph as the matrix that it is observed to be |
| `rules`, `folding` | random composites; BatchNormalization folded by hand |
| `compiled` | the compiled graph, run by onnxruntime, against the engine at several sizes |
| `trial`, `checks` | a case under test; what must hold of it |
| `judge`, `shrink` | how a case ends; a failing case made small |
| `command` | `make differential` |

`literal`, `words` and `whole` import nothing of reflrp.
"""
