"""Hostile input: broken and malicious models, arguments and files, made from sound ones, and a judge that sees what they do.

| room | holds |
|---|---|
| `seeds` | the sound models that are changed |
| `bytes`, `graphs` and `nested`, `fields` | what is done to models: to bytes, to graphs, to any field of any message |
| `bombs` | small files that ask for memory or time |
| `arguments` | odd values for every parameter of the public functions |
| `saved`, `images`, `names` | saved explanations; what the command line reads; names that speak to a terminal |
| `threads` | many threads on one model |
| `judge`, `child` | the process that tries a case, its limits, and what is heard and measured of it |
| `kinds`, `command` | the kinds of cases, and `make fuzz` |

The same seed and number make the same case, so a case is a number, and children make their own.
"""

import random

from fuzz.bombs import BOMBS
from fuzz.bytes import mutated_bytes
from fuzz.child import Ear
from fuzz.judge import Judge, Verdict
from fuzz.kinds import KINDS
from fuzz.nested import mutated_graph
from fuzz.networks import FINE, REFUSED
from fuzz.seeds import seeds
from fuzz.values import PLACES

__all__ = [
    "BOMBS", "FINE", "KINDS", "PLACES", "REFUSED", "Ear", "Judge", "Verdict", "mutated_bytes", "mutated_graph", "random", "seeds",
]  # fmt: skip
