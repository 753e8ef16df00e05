"""What a layer map may name a kind of layer by: a matcher, a class of torch.nn or zennit, or a tuple of these.

Classes are recognised by their names, so that neither library is imported.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from reflrp.composites.matchers import Matcher
from reflrp.dialects.zennit import nn, types
from reflrp.dialects.zennit.types import Types
from reflrp.errors import RuleError
from reflrp.ground.checks import shown


def matcher(kinds: Types) -> Matcher:
    """Return the matcher that an entry of a layer map means. Raises RuleError where it means none."""
    if isinstance(kinds, Matcher):
        return kinds
    if isinstance(kinds, tuple) and kinds:
        return reduce(or_, map(matcher, kinds))
    if isinstance(kinds, type):
        for base in kinds.__mro__:
            library = base.__module__.partition(".")[0]
            found = getattr({"torch": nn, "zennit": types}.get(library), base.__name__, None)
            if isinstance(found, Matcher):
                return found
    raise RuleError(
        f"{shown(kinds)} is no type of layer: use reflrp.dialects.zennit.types or .nn, a matcher of reflrp.composites, a "
        "class of torch.nn, or a tuple of these"
    )
