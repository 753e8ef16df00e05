"""The engine: forward, and the walk back that hands each node's relevance to its inputs; and what is checked on the way."""

from reflrp.engine.program import Program, Values, prepare, rule_name

__all__ = ["Program", "Values", "prepare", "rule_name"]
