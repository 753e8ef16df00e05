"""What iNNvestigate and SignXAI2 answer: `python answer.py FOLDER` writes networks, ONNX files and relevances.

It runs where TensorFlow is installed, and reflrp is not (they want different versions of NumPy); the tests read what it writes.
iNNvestigate needs a process without eager execution, so it has one of its own; it computes in float64. So does SignXAI, but
where one of its layers adds in float32 all is float32.
"""

import json
import os
import pickle
import runpy
import subprocess
import sys
import warnings
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.simplefilter("ignore")
sys.path.insert(0, str(Path(__file__).parent))

import by_hand  # noqa: E402
import cases  # noqa: E402
import nets  # noqa: E402
import tensorflow as tf  # noqa: E402

keras = tf.keras


def made(rule: Any, **arguments: Any) -> Any:
    """A rule with arguments, as both libraries want one: a subclass."""
    if not arguments:
        return rule

    def begin(self: Any, *args: Any, **more: Any) -> None:
        rule.__init__(self, *args, **{**more, **arguments})

    return type(f"{rule.__name__}WithArguments", (rule,), {"__init__": begin})


def export(folder: Path) -> None:
    """Write each network as an ONNX file in float64, its description, its input and its output."""
    import tf2onnx

    keras.backend.set_floatx("float64")
    for name in sys.argv[3:] or nets.NETS:
        model = nets.built(keras, name)
        proto, _ = tf2onnx.convert.from_keras(model, opset=17)
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
        weights = {layer.name: layer.get_weights() for layer in model.layers}
        x = nets.sample(model, name)
        # Plain data: lists, dicts, numbers and arrays.
        config = json.loads(model.to_json())["config"]
        data = {"config": config, "weights": weights, "x": x, "y": model(x).numpy()}
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(data))


UPSTREAM = Path(__file__).parents[3] / "conformance" / "upstream"

CHOSEN = {"index": 4, "list": [1, 0, 3], "max_activation": None, "all": None}
"""The neurons to explain, by the way to choose them."""


@cache
def model_of(name: str, floatx: str) -> Any:
    """A network in a float type, made once: to make it takes longer than to analyse it, and no analyzer changes it."""
    keras.backend.set_floatx(floatx)
    return nets.built(keras, name)


def answers(library: Any, every: dict[str, Any], run: Any, kept: Path) -> None:
    """Write all relevances of a library, and the class of the error where it raised; a file a network."""
    planned = cases.plan(library.name, tuple(nets.NETS), bool(os.environ.get("ALL")))
    for name in sys.argv[3:] or nets.NETS:
        found: dict[str, Any] = {}
        data = pickle.loads((kept / f"{name}.pickle").read_bytes())
        x = data["x"][: cases.samples(library.name, name)]
        for i, (_, title, mode) in enumerate(each for each in planned if each[0] == name):
            if (
                i % 8 == 0
            ):  # a graph that several analyzers stand in takes longer to run, and a model anew takes a while
                model_of.cache_clear()
                keras.backend.clear_session()
            try:
                found[f"{title}|{mode}"] = run(library, every[title], name, x, mode, CHOSEN[mode])
            except Exception as error:
                found[f"{title}|{mode}"] = f"{type(error).__name__}: {error}"[:200]
        (kept / f"{library.name}-{name}.pickle").write_bytes(pickle.dumps(found))


def for_upstream(name: str, kept: Path) -> None:
    """Write what a script of conformance/upstream gives, which has nothing of this in it."""
    keras.backend.clear_session()  # after an error a graph computes nothing more
    found = runpy.run_path(str(UPSTREAM / f"{name}.py"))["run"]()
    (kept / f"{name}.pickle").write_bytes(pickle.dumps(found))


def quick_graphs() -> None:
    """Let TensorFlow 1's graphs be made in a third of the time, by two settings of theirs; the numbers stay the same to the bit.

    Constants are read where they are used, not computed beforehand one by one; and a graph that runs once is not optimised.
    """
    from keras.src.engine import base_layer_utils

    tf.compat.v1.disable_eager_execution()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    base_layer_utils._UNSAFE_GRAPH_OP_LAYER_CREATION = True


def innvestigates() -> SimpleNamespace:
    """iNNvestigate's names in one place."""
    keras.backend.set_floatx("float64")
    from innvestigate import analyzer
    from innvestigate.analyzer.relevance_based import relevance_rule
    from innvestigate.backend import checks

    library = SimpleNamespace(
        **{k: v for module in (checks, relevance_rule, analyzer) for k, v in vars(module).items() if k[0] != "_"}
    )
    from innvestigate.analyzer.relevance_based import relevance_analyzer

    library.__dict__.update({k: getattr(relevance_analyzer, k) for k in relevance_analyzer.__all__})
    library.made, library.name = made, "innvestigate"
    return library


def by_innvestigate(kept: Path) -> None:
    quick_graphs()
    library = innvestigates()
    from innvestigate import analyzer

    def run(lib: Any, make: Any, name: str, x: Any, mode: str, chosen: Any) -> Any:
        keras.backend.set_learning_phase(0)  # else the gradient of a BatchNorm asks for it
        way = "index" if mode == "list" else mode
        wrapped = SimpleNamespace(**vars(lib))
        for k, v in vars(lib).items():
            if isinstance(v, type) and issubclass(v, analyzer.base.AnalyzerBase):
                wrapped.__dict__[k] = lambda m, v=v, **kw: v(
                    m, neuron_selection_mode=way, disable_model_checks=True, **kw
                )
        return make(wrapped, model_of(name, "float64")).analyze(x, neuron_selection=chosen)

    answers(library, cases.INNVESTIGATE, run, kept)


def innvestigate_shown(kept: Path) -> None:
    """Write what the scripts, the examples by hand and a sample of the vectors give: with graphs as users have them."""
    library = innvestigates()
    for name in ("bias", "batchnorm", "added_to_itself", "zero_sum", "groups", "layer_norm", "equal_maxima"):
        for_upstream(f"innvestigate_{name}", kept)
    keras.backend.clear_session()
    unchecked = SimpleNamespace(**{**vars(library), "LRP": partial(library.LRP, disable_model_checks=True)})
    found = by_hand.run(unchecked, lambda analyzer, x: analyzer.analyze(x), keras)
    conformance(kept, "innvestigate")
    (kept / "innvestigate_by_hand.pickle").write_bytes(pickle.dumps(found))


def signxais() -> SimpleNamespace:
    """SignXAI's names in one place."""
    from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_analyzer as analyzers
    from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_rule_base as rules
    from signxai.tf_signxai.methods_impl.innvestigate.utils.keras import checks

    library = SimpleNamespace(
        **{k: v for module in (checks, rules, analyzers) for k, v in vars(module).items() if k[0] != "_"}
    )
    library.made, library.name = made, "signxai"
    return library


def by_signxai(kept: Path) -> None:
    def run(lib: Any, make: Any, name: str, x: Any, mode: str, chosen: Any) -> Any:
        select = chosen if mode in ("index", "list") else mode
        try:
            keras.backend.set_floatx("float64")
            found = make(lib, model_of(name, "float64")).analyze(x, neuron_selection=select)
        except Exception:  # some of its layers add in float32 only
            keras.backend.set_floatx("float32")
            found = make(lib, model_of(name, "float32")).analyze(x.astype("float32"), neuron_selection=select)
        (relevance,) = found.values()
        return relevance

    answers(signxais(), cases.SIGNXAI, run, kept)


def signxai_shown(kept: Path) -> None:
    """Write what the scripts, the examples by hand and a sample of the vectors give."""
    library = signxais()
    for name in ("bounded", "gamma", "alpha_beta_x", "batchnorm_batch", "permute"):
        for_upstream(f"signxai_{name}", kept)
    keras.backend.set_floatx("float64")
    found = by_hand.run(library, lambda a, x: next(iter(a.analyze(x, neuron_selection="all").values())), keras)
    conformance(kept, "signxai")
    (kept / "signxai_by_hand.pickle").write_bytes(pickle.dumps(found))


VECTORS = UPSTREAM.parent / "vectors" / "v1"

SAMPLE = ("*/*_dense", "batchnorm/alone_*", "graph/*", "max_pool/ties", "reject/alpha_*", "composite/epsilon_plus_cnn")
"""The cases of the conformance suite of which the reports that are kept are found anew; `make verdicts-tf` has all."""


def conformance(kept: Path, library: str) -> None:
    """Write what a library answers to some vectors, by the program that answers to all."""
    path = {**os.environ, "PYTHONPATH": str(UPSTREAM.parent / "adapters")}
    command = [sys.executable, "-m", "keras_answers", library, str(VECTORS), str(kept / "vectors" / library), *SAMPLE]
    subprocess.run(command, check=True, env=path)


STEPS = {
    "export": export,
    "innvestigate": by_innvestigate,
    "innvestigate_shown": innvestigate_shown,
    "signxai": by_signxai,
    "signxai_shown": signxai_shown,
}
WORKERS = {"innvestigate": 4, "signxai": 2}
"""Into how many processes a library's networks are dealt: to make a graph of TensorFlow 1 keeps one core busy."""


def every_step(kept: Path) -> int:
    """Export, then ask both libraries, and read their living analyzers; return the worst exit status."""
    subprocess.run([sys.executable, __file__, str(kept), "export"], check=True)
    names, living = list(nets.NETS), str(Path(__file__).with_name("living.py"))
    asked = [[__file__, str(kept), k, *names[i::n]] for k, n in WORKERS.items() for i in range(n)]
    asked += [[__file__, str(kept), f"{k}_shown"] for k in WORKERS]
    asked += [[living, str(kept), k] for k in WORKERS]
    running = [subprocess.Popen([sys.executable, *each]) for each in asked]
    return max(abs(process.wait()) for process in running)


if __name__ == "__main__":
    kept = Path(sys.argv[1])
    kept.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) > 2:
        STEPS[sys.argv[2]](kept)
    else:
        sys.exit(every_step(kept))
