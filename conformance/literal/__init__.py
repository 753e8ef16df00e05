"""The literal oracle: ONNX graphs and rules as sums over indices, in fractions. It shares no code with reflrp.

| file | holds |
|---|---|
| `numbers` | what fractions lack: exp, roots, erf, to 2^-200 |
| `steps` | what a node is at the observed input: terms of a linear map, a function, a product, a normaliser |
| `layers`, `pools`, `tensors`, `routing`, `functions` | ONNX operators as such steps |
| `recurrent` | LSTM, GRU and RNN as nodes of simple operators |
| `rules` | the rules, each a loop over terms |
| `oracle` | a graph forwards and backwards |

Only Python numbers, loops and indices: numpy holds the entries and numbers them. It is slow, and meant to be read.
"""

from reflrp.conformance.literal.oracle import Answer, Oracle

__all__ = ["Answer", "Oracle"]
