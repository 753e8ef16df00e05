"""Train the three networks of docs/compare: like VGG-16, like ResNet, like ViT, each on 8x8 handwritten digits.

    pip install torch onnx onnxscript onnxruntime scikit-learn
    python examples/train_three.py [folder, default examples/networks]

writes vgg.onnx, resnet.onnx, vit.onnx (input "image" (N, 1, 8, 8) in 0..1, output "logits" (N, 10)) and digits.npy, ten
held-out images, one of each digit. The data are those of train_digits.py.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from train_digits import SEED, data, strip, train

NETWORKS = Path(__file__).resolve().parent / "networks"


class Vgg(nn.Sequential):
    """VGG's plan at the size of the images: 3x3 convolutions with biases, max-pools, three dense layers."""

    def __init__(self) -> None:
        super().__init__()
        widths = {"1_1": (1, 8), "1_2": (8, 8), "2_1": (8, 16), "2_2": (16, 16), "3_1": (16, 24), "3_2": (24, 24)}
        for name, (before, after) in widths.items():
            self.add_module(f"conv{name}", nn.Conv2d(before, after, 3, padding=1))
            self.add_module(f"relu{name}", nn.ReLU())
            if name.endswith("2"):
                self.add_module(f"pool{name[0]}", nn.MaxPool2d(2))
        self.flatten = nn.Flatten()
        self.dense1, self.relu4 = nn.Linear(24, 32), nn.ReLU()
        self.dense2, self.relu5 = nn.Linear(32, 32), nn.ReLU()
        self.logits = nn.Linear(32, 10)


class Residual(nn.Module):
    """ResNet's basic block: y = relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x))."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        shortcut = (nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.shortcut = nn.Sequential(*shortcut) if before != after else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the block computes."""
        h = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        return self.relu2(h + self.shortcut(x))


class Resnet(nn.Sequential):
    """A stem, three residual blocks, the mean of the map, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.relu = nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU()
        self.block1, self.block2, self.block3 = Residual(12, 12, 1), Residual(12, 20, 2), Residual(20, 20, 1)
        self.mean, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.logits = nn.Linear(20, 10)


class Encoder(nn.Module):
    """A pre-norm block of a transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the block computes."""
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Sixteen patches of 2x2 pixels, a class token, positions, two blocks."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, 2)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(17, width))
        self.block1, self.block2 = Encoder(width, 4), Encoder(width, 4)
        self.norm, self.logits = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        h = self.patches(image).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(h.shape[0], -1, -1), h], 1) + self.positions
        return self.logits(self.norm(self.block2(self.block1(h)))[:, 0])


LAYERS = ("BatchNormalization", "Conv", "Gemm", "LayerNormalization", "MaxPool", "Relu")
"""Operators that are a module of their own here, and have its name."""

NETS: dict[str, type[nn.Module]] = {"vgg": Vgg, "resnet": Resnet, "vit": Vit}


def export(net: nn.Module, name: str) -> onnx.ModelProto:
    """The network as ONNX with a free batch size; BatchNorm stays a node of its own."""
    program = torch.onnx.export(
        net,
        (torch.zeros(2, 1, 8, 8),),
        dynamo=True,
        external_data=False,
        optimize=False,
        opset_version=20,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    program.optimize() if name == "vit" else None  # there is no BatchNorm in it, and attention becomes shorter
    model = program.model_proto
    model.graph.name = name
    rename(model.graph)
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def rename(graph: onnx.GraphProto) -> None:
    """Name each node, and what it writes, after the module that it came from: a layer's own name, else with the operator."""
    names = {"logits": "logits"}
    taken: dict[str, int] = {}
    for node in graph.node:
        module = module_of(node)
        flattens = node.op_type == "Reshape" and module == "flatten"
        name = module if node.op_type in LAYERS or flattens else f"{module}.{node.op_type.lower()}".lstrip(".")
        taken[name] = taken.get(name, 0) + 1
        node.name = name if taken[name] == 1 else f"{name}.{taken[name]}"
        for i, value in enumerate(node.output):
            names.setdefault(value, node.name if i == 0 else f"{node.name}:{i}")
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names[value] for value in node.output]


def module_of(node: onnx.NodeProto) -> str:
    """The module whose weight a node has, else the one noted by the exporter; "" for the network itself."""
    for value in node.input:
        if value.endswith(".weight"):
            return value.removesuffix(".weight")
    scopes = [note.value for note in node.metadata_props if note.key == "pkg.torch.onnx.name_scopes"]
    modules = [scope for scope in ast.literal_eval(scopes[0])[:-1] if scope] if scopes else []
    return str(modules[-1]) if modules else ""


def main(folder: Path) -> None:
    """Train each, check, write."""
    x, x_held_out, y, y_held_out = data()
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind in NETS.items():
        torch.manual_seed(SEED)
        net = kind()
        train(net, torch.from_numpy(x), torch.from_numpy(y))
        model = export(net, name)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (z,) = session.run(None, {"image": x_held_out})
        np.testing.assert_allclose(z, net(torch.from_numpy(x_held_out)).detach().numpy(), atol=1e-4)
        print(f"{name}: held-out accuracy {(z.argmax(1) == y_held_out).mean():.2%} of {len(z)} images")
        onnx.save(model, folder / f"{name}.onnx")
    first = [np.flatnonzero(y_held_out == digit)[0] for digit in range(10)]
    np.save(folder / "digits.npy", x_held_out[first])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else NETWORKS)
