"""An explanation of a BERT-base-shaped classifier beside onnxruntime's forward pass of it, both in float32.

    PYTHONPATH=tests python benchmarks/bench_bert.py FOLDER [--length 128] [--repeat 7] [--lxt]

needs torch, transformers and onnxruntime beside reflrp, and lxt for --lxt. The network (12 layers, 768 wide, random weights)
is written to the folder once, by torch's exporter. "ratio" is reflrp's time by that of onnxruntime's forward pass.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PRESETS = ("attnlrp", "cp_lrp")


def write(path: Path, length: int) -> None:
    """Export a classifier of transformers' default BERT configuration, which is BERT-base's shape."""
    import torch
    from zoo.torch_tools import torchvision_library

    transformers = torchvision_library("transformers")
    torch.manual_seed(0)
    module = transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=2)).eval()
    ids = torch.randint(3, 30_000, (1, length))
    names = {"input_names": ["input_ids", "attention_mask"], "output_names": ["logits"]}
    part = path.with_suffix(".part")
    torch.onnx.export(module, (ids, torch.ones_like(ids)), part, dynamo=True, external_data=False, **names)
    os.replace(part, path)


def compiled(path: Path, preset: str, x: dict[str, np.ndarray]) -> tuple[Callable[[], Any], float, int]:
    """Return what runs the compiled model, the seconds that compiling took, and how many nodes it has."""
    import onnxruntime

    import reflrp

    start = time.perf_counter()
    proto = reflrp.compile(path, preset, target=1, shapes={k: v.shape for k, v in x.items()})
    took = time.perf_counter() - start
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [o.name for o in session.get_outputs() if o.name.startswith("relevance/")]
    return lambda: session.run(outputs, x), took, len(proto.graph.node)


def by_lxt(length: int) -> Callable[[], Any]:
    """Return LXT's efficient form of AttnLRP: its patches on transformers' BERT, gradient times input of the embeddings."""
    import sys
    import types

    import torch
    from zoo.torch_tools import torchvision_library

    torchvision_library("transformers")
    from transformers import BertConfig, BertForSequenceClassification
    from transformers.activations import GELUActivation
    from transformers.models.bert import modeling_bert

    models = types.ModuleType("lxt.efficient.models")  # its own copies of models need an older transformers
    models.get_default_map = dict.get  # type: ignore[attr-defined]
    sys.modules[models.__name__] = models
    from lxt.efficient import patches

    torch.manual_seed(0)
    config = BertConfig(num_labels=2)
    config._attn_implementation = "eager"
    module = BertForSequenceClassification(config).eval().requires_grad_(False)
    patches.patch_method(patches.layer_norm_forward, torch.nn.LayerNorm)
    patches.patch_method(patches.non_linear_forward, GELUActivation, keep_original=True)
    patches.patch_method(patches.dropout_forward, torch.nn.Dropout)
    modeling_bert.eager_attention_forward = patches.wrap_attention_forward(modeling_bert.eager_attention_forward)
    ids = torch.from_numpy(np.random.default_rng(0).integers(3, 30_000, (1, length)))
    mask = torch.ones_like(ids)

    def explain() -> Any:
        embedded = module.bert.embeddings.word_embeddings(ids).detach().requires_grad_()
        module(inputs_embeds=embedded, attention_mask=mask).logits[0, 1].backward()
        return (embedded.grad * embedded).sum(-1)

    return explain


def best(functions: list[Callable[[], Any]], repeat: int) -> list[float]:
    """Best time of each, called by turns, after one call to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repeat + 1):
        for function, seconds in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            seconds += [time.perf_counter() - start] if turn else []
    return [min(seconds) for seconds in times]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--lxt", action="store_true", help="beside LXT's efficient form of AttnLRP, on torch")
    options = parser.parse_args()
    path = options.folder / f"bert_base_{options.length}.onnx"
    if not path.exists():
        options.folder.mkdir(parents=True, exist_ok=True)
        write(path, options.length)

    import onnxruntime

    import reflrp

    ids = np.random.default_rng(0).integers(3, 30_000, (1, options.length))
    x = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model = reflrp.load(path)
    print(
        f"BERT-base shape, {options.length} tokens, float32; onnxruntime {onnxruntime.__version__}, cpus {os.cpu_count()}"
    )
    print("preset     reflrp s  forward s  ratio")
    for preset in PRESETS:
        explainer = reflrp.Explainer(model, preset, dtype="float32")
        ours, theirs = best([lambda e=explainer: e(x), lambda: session.run(None, x)], options.repeat)
        print(f"{preset:10} {ours:8.3f} {theirs:10.3f} {ours / theirs:6.2f}", flush=True)
    print("compiled   reflrp s  forward s  ratio" + ("    LXT s  LXT by ours" if options.lxt else ""))
    for preset in PRESETS:
        run, took, nodes = compiled(path, preset, x)
        others = [by_lxt(options.length)] if options.lxt else []
        ours, theirs, *lxt = best([run, lambda: session.run(None, x), *others], options.repeat)
        print(
            f"{preset:10} {ours:8.3f} {theirs:10.3f} {ours / theirs:6.2f}"
            + "".join(f" {t:8.3f} {t / ours:12.2f}" for t in lxt)
            + f"   compiled in {took:.1f} s, {nodes} nodes",
            flush=True,
        )


if __name__ == "__main__":
    main()
