"""Train the demo network: 8x8 handwritten digits, exported to ONNX with a Softmax at the end.

    pip install torch onnx onnxscript onnxruntime scikit-learn
    python examples/train_digits.py [folder, default reflrp/demo]

writes digits.onnx (input "image" (N, 1, 8, 8) in 0..1, output "probabilities" (N, 10)) and digits.npz
(two held-out images of each digit). Data: scikit-learn's load_digits, that is the test set of the UCI
"Optical Recognition of Handwritten Digits" data (CC BY 4.0).
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

EPOCHS, BATCH, SEED = 60, 64, 0
DEMO = Path(__file__).resolve().parent.parent / "reflrp" / "demo"


class Digits(nn.Module):
    """Three convolutions, a max and an average pool, two dense layers; logits or probabilities at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 24, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(24, 32, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.avgpool = nn.AvgPool2d(2)
        self.flatten = nn.Flatten()
        self.dense1 = nn.Linear(128, 48)
        self.relu4 = nn.ReLU()
        self.logits = nn.Linear(48, 10)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Probabilities: what the exported graph computes."""
        return self.softmax(self.scores(image))

    def scores(self, image: torch.Tensor) -> torch.Tensor:
        """Logits: what the loss wants."""
        value = image
        for name, layer in self.named_children():
            value = value if name == "softmax" else layer(value)
        return value


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images, held-out images (one fifth, stratified), and the labels of both."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    train, held_out, y_train, y_held_out = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=SEED
    )
    return train, held_out, y_train, y_held_out


def train(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Adam with a one-cycle learning rate; cross entropy with a little label smoothing."""
    steps = EPOCHS * -(-len(images) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=5e-3, total_steps=steps)
    loss = nn.CrossEntropyLoss(label_smoothing=0.05)
    net.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimiser.zero_grad()
            loss(getattr(net, "scores", net)(images[batch]), labels[batch]).backward()
            optimiser.step()
            schedule.step()
    net.eval()


def export(net: Digits) -> onnx.ModelProto:
    """The network as ONNX with a free batch size; nodes and values carry the names of the modules."""
    program = torch.onnx.export(
        net,
        (torch.zeros(2, 1, 8, 8),),
        dynamo=True,
        external_data=False,
        opset_version=20,
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    model = program.model_proto
    model.graph.name = "digits"
    rename(model.graph)
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def rename(graph: onnx.GraphProto) -> None:
    """Name each node, and the value that it writes, after the module that it came from."""
    names = {"probabilities": "probabilities", "conv1.weight_bias": "conv1.bias"}
    for node in graph.node:
        node.name = module_of(node)
        names.setdefault(node.output[0], node.name)
        if node.op_type == "Reshape":
            names[node.input[1]] = f"{node.name}.shape"
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names[value] for value in node.output]
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)


def module_of(node: onnx.NodeProto) -> str:
    """The module whose weight a node has (BatchNorm is folded by now), else the one noted by the exporter."""
    for value in node.input:
        if value.endswith(".weight"):
            return value.removesuffix(".weight")
    (scopes,) = [note.value for note in node.metadata_props if note.key == "pkg.torch.onnx.name_scopes"]
    return ast.literal_eval(scopes)[1]  # a written list: root, module, operator


def strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes for debugging: stack traces, scopes, inner shapes."""
    del model.graph.value_info[:]
    for item in [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output]:
        del item.metadata_props[:]
        item.ClearField("doc_string")
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
        tensor.ClearField("doc_string")


def two_of_each(labels: np.ndarray) -> np.ndarray:
    """Positions of the first two samples of each class, class by class."""
    return np.concatenate([np.flatnonzero(labels == digit)[:2] for digit in range(10)])


def main(folder: Path) -> None:
    """Train, check, write."""
    torch.manual_seed(SEED)
    x, x_held_out, y, y_held_out = data()
    net = Digits()
    train(net, torch.from_numpy(x), torch.from_numpy(y))
    model = export(net)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (p,) = session.run(None, {"image": x_held_out})
    np.testing.assert_allclose(p, net(torch.from_numpy(x_held_out)).detach().numpy(), atol=1e-5)
    print(f"held-out accuracy in onnxruntime: {(p.argmax(1) == y_held_out).mean():.2%} of {len(p)} images")

    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "digits.onnx")
    chosen = two_of_each(y_held_out)
    np.savez_compressed(folder / "digits.npz", images=x_held_out[chosen], labels=y_held_out[chosen])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO)
