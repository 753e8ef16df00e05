"""The conformance suite: what each rule means, clause by clause, and how any library is held against it.

| file | holds |
|---|---|
| `specification` | the clauses of `spec/clauses.toml` |
| `cases` | the vectors |
| `protocol` | what a library's adapter says and does |
| `running`, `verdicts`, `properties` | an adapter and the vectors -> verdicts |
| `profiles`, `report` | what a library declares of itself; what a run found |
"""

from reflrp.conformance.cases import Case, select
from reflrp.conformance.profiles import Deviation, Profile
from reflrp.conformance.protocol import Adapter, Info, RuleSpec, Unsupported
from reflrp.conformance.report import Report, Row
from reflrp.conformance.running import run
from reflrp.conformance.specification import Clause, clauses, sources

__all__ = [
    "Adapter",
    "Case",
    "Clause",
    "Deviation",
    "Info",
    "Profile",
    "Report",
    "Row",
    "RuleSpec",
    "Unsupported",
    "clauses",
    "run",
    "select",
    "sources",
]
