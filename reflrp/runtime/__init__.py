"""The backends "onnxruntime" and "auto": explanations by compiled graphs, run by onnxruntime.

`sessions` makes a session of a compiled graph, `running` feeds it and reads an explanation from what it gives, `watched` has
the few values that are looked at beside. Importing this enters the backends in `explainer.backends`; onnxruntime itself is
imported when the first session is made.
"""

from reflrp.explainer.backends import BACKENDS
from reflrp.runtime.choosing import Choice, chosen
from reflrp.runtime.running import Graphs, graphs

BACKENDS.update(onnxruntime=graphs, auto=chosen)

__all__ = ["Choice", "Graphs", "chosen", "graphs"]
