"""What reflrp reads from living analyzers: `python living.py FOLDER innvestigate | signxai [networks]` writes it, for test_keras.

TensorFlow 2.14 wants NumPy 1 and reflrp NumPy 2, so that no process holds both as they are. Reading an analyzer needs none
of NumPy 2: two names that reflrp's modules look up when they are imported are entered here, and what was read is pickled.
"""

import importlib.metadata
import os
import pickle
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HERE = Path(__file__).parent
for missing in {"matrix_transpose", "permute_dims"} - set(dir(np)):
    setattr(np, missing, np.transpose)
found_version = importlib.metadata.version
importlib.metadata.version = lambda name: "0" if name == "reflrp" else found_version(name)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.simplefilter("ignore")
sys.path[:0] = [str(HERE), str(HERE.parents[2])]

import cases  # noqa: E402
import nets  # noqa: E402
import tensorflow as tf  # noqa: E402

from reflrp.dialects import innvestigate, signxai  # noqa: E402

keras = tf.keras


def made(rule: Any, **arguments: Any) -> Any:
    """A rule with arguments, as the library wants one: a subclass that calls the constructor of the next class in line."""
    if not arguments:
        return rule

    def begin(self: Any, *args: Any, **more: Any) -> None:
        super(kind, self).__init__(*args, **{**more, **arguments})

    kind: Any = type(f"{rule.__name__}WithArguments", (rule,), {"__init__": begin})
    return kind


def by_innvestigate() -> Any:
    """The library's names; its analyzers select by index."""
    tf.compat.v1.disable_eager_execution()
    from innvestigate import analyzer
    from innvestigate.analyzer.relevance_based import relevance_analyzer, relevance_rule
    from innvestigate.backend import checks

    names = {k: v for m in (checks, relevance_rule, analyzer, relevance_analyzer) for k, v in vars(m).items()}
    for k, v in list(names.items()):
        if isinstance(v, type) and issubclass(v, analyzer.base.AnalyzerBase):
            names[k] = lambda m, v=v, **kw: v(m, neuron_selection_mode="index", disable_model_checks=True, **kw)
    return SimpleNamespace(**{k: v for k, v in names.items() if k[0] != "_"}, made=made)


def by_signxai() -> Any:
    """The library's names."""
    from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_analyzer as analyzers
    from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_rule_base as rules
    from signxai.tf_signxai.methods_impl.innvestigate.utils.keras import checks

    names = {k: v for m in (checks, rules, analyzers) for k, v in vars(m).items() if k[0] != "_"}
    return SimpleNamespace(**names, made=made)


def main(kept: Path, title: str, networks: list[str]) -> None:
    """Build each planned analyzer, and read it."""
    keras.backend.set_floatx("float64")
    of = {
        "innvestigate": (by_innvestigate, cases.INNVESTIGATE, innvestigate),
        "signxai": (by_signxai, cases.SIGNXAI, signxai),
    }
    make, every, dialect = of[title]
    library, found = make(), dict[tuple[str, str], Any]()
    planned = cases.plan(title, tuple(nets.NETS))
    for net in networks:
        model = nets.built(keras, net)
        for case in dict.fromkeys(case for on, case, mode in planned if mode == "index" and on == net):
            try:
                found[net, case] = dialect.composite(every[case](library, model))
            except Exception as error:
                found[net, case] = f"{type(error).__name__}: {error}"
        keras.backend.clear_session()
    (kept / f"{title}-living.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] or list(nets.NETS))
