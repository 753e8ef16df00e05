"""The engine: forward, and the walk back that hands each node's relevance to its inputs; and what is checked on the way.

Clauses: FWD-1, GRAPH-1, BATCH-1.
"""

from reflrp.engine.program import Program, Values, prepare, rule_name

__all__ = ["Program", "Values", "prepare", "rule_name"]
