"""What people see: pictures of images and series, of tokens, and tables as text.

The objects that are shown stand below and do not import this package: it enters its functions in `reflrp.ground.views`.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from reflrp.ground.views import VIEWS


def _late(module: str, function: str) -> Callable[..., Any]:
    """Return a function of this package that is imported when it is called first: rich and its kin take time."""

    def call(*args: Any, **options: Any) -> Any:
        return getattr(import_module(f"{__name__}.{module}"), function)(*args, **options)

    return call


VIEWS.update(
    plot=_late("images", "plot"),
    tokens=_late("tokens", "tokens"),
    summary=_late("tables", "summary"),
    ledger=_late("tables", "ledger_table"),
    explanation_html=_late("notebook", "explanation_html"),
    model_html=_late("notebook", "model_html"),
    ledger_html=_late("notebook", "ledger_html"),
    comparison=_late("compared", "text"),
    comparison_html=_late("compared", "html"),
    comparison_page=_late("compared", "page"),
    comparison_plot=_late("compared", "plot"),
)
