"""The backends "onnxruntime" and "auto": explanations by compiled graphs, run by onnxruntime.

`sessions` makes a session of a compiled graph, `running` feeds it and reads an explanation from what it gives, `watched` has
the few values that are looked at beside. Importing this enters the backends in `explainer.backends`; what they are made of, with
onnx, is imported when one is asked for, and onnxruntime itself when the first session is made.
"""

from reflrp.explainer.backends import BACKENDS, Wishes
from reflrp.explainer.programs import Programs


def graphs(programs: Programs, wishes: Wishes) -> Programs:
    """Return what runs an explainer's programs as compiled graphs."""
    from reflrp.runtime.running import graphs as made

    return made(programs, wishes)


def chosen(programs: Programs, wishes: Wishes) -> Programs:
    """Return what runs them as compiled graphs where that can be, and by NumPy elsewhere."""
    from reflrp.runtime.choosing import chosen as made

    return made(programs, wishes)


BACKENDS.update(onnxruntime=graphs, auto=chosen)

__all__ = ["chosen", "graphs"]
