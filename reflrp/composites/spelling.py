"""`name(key=value, ...)`: a preset with its parameters, as one text."""

from __future__ import annotations

import ast
import warnings
from typing import Any

import numpy as np

from reflrp.errors import RuleError
from reflrp.ground.checks import shown


def called(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the parameters of "name" or "name(key=value, ...)"; a list stands for an array.

    Raises RuleError for any other text.
    """
    if "(" not in text:
        return text, {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # what Python has to say of the style of a text
            call: Any = ast.parse(text.strip(), mode="eval").body
        found = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        if call.args or None in found:
            raise ValueError("not all arguments have names")
        return ast.unparse(call.func), {k: np.asarray(v) if isinstance(v, list) else v for k, v in found.items()}
    except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise RuleError(f"rules={shown(text)}: write name(key=value, ...)") from error
