"""Where two answers part, and why: `reflrp.compare`.

| file | holds |
|---|---|
| `compare` | the way of a comparison, and what it returns |
| `sides` | the two sides: rules on a graph, or relevance by name that any program gave |
| `local` | what each node adds to the difference |
| `causes` | what differs between the rules, and how much of the difference each thing explains |
| `spoken` | two rules of different names in one vocabulary |
| `variants` | the published readings of a rule, to name the one that a given relevance follows |
"""

from reflrp.comparison.causes import Cause
from reflrp.comparison.compare import Comparison, compare
from reflrp.comparison.local import Row

__all__ = ["Cause", "Comparison", "Row", "compare"]
