"""How the vectors are made: `python -m reflrp.conformance.generate FOLDER`.

| file | holds |
|---|---|
| `net`, `draft` | a network with rules and dyadic numbers; a case before it is written |
| `write` | the oracle's answer, what refuses a bad vector, the files |
| `linear`, ... | the cases, a file a level |
"""

from collections.abc import Iterator

from reflrp.conformance.generate import edges, functions, graphs, linear, networks
from reflrp.conformance.generate.draft import Draft


def drafts() -> Iterator[Draft]:
    """Yield all cases of the suite."""
    yield from linear.drafts()
    yield from edges.drafts()
    yield from graphs.drafts()
    yield from functions.drafts()
    yield from networks.drafts()
