"""The networks of docs/compare/three-pairs.md, explained by zennit, captum and pnpxai themselves, in float64.

The page names the libraries by their dialects; here each answers for itself, on the same trained weights.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import zennit.composites
from captum.attr import LRP
from captum.attr._utils.custom_modules import Addition_Module
from captum.attr._utils.lrp_rules import EpsilonRule
from onnx import numpy_helper
from peers.test_pnpxai import Add, theirs
from peers.test_zennit import ExactMerge
from torch import nn
from zennit.attribution import Gradient
from zennit.layer import Sum

import reflrp
from reflrp.dialects import zennit as dialect

EXAMPLES = Path(__file__).parents[2] / "examples"
NETWORKS = EXAMPLES / "networks"
X = np.load(NETWORKS / "digits.npy")


@pytest.fixture(scope="module")
def three() -> Any:
    """examples/train_three.py, which wants scikit-learn for its data only."""
    text = (EXAMPLES / "train_three.py").read_text("utf-8").replace("from train_digits import", "# ")
    scope: dict[str, Any] = {"__file__": str(EXAMPLES / "train_three.py"), "__name__": "train_three"}
    before = list(sys.path)
    exec(compile(text, "train_three.py", "exec"), scope)
    sys.path[:] = before
    return scope


def trained(net: nn.Module, name: str) -> nn.Module:
    """The network with the weights of the file; the exporter turns matrices over, and then gives them names of its own."""
    file = {
        t.name: torch.tensor(numpy_helper.to_array(t)) for t in onnx.load(NETWORKS / f"{name}.onnx").graph.initializer
    }
    turned = iter(t.T for k, t in file.items() if k.startswith("val_") and t.ndim == 2)
    wanted = net.state_dict()
    named = {k: file[k] for k in wanted if k in file}
    matrices = {}
    for block in ("block1", "block2") if name == "vit" else ():
        matrices |= {f"{block}.{k}": None for k in ("attention.in_proj_weight", "mlp.0.weight", "mlp.2.weight")}
    named |= {k: next(turned) for k in matrices}
    missing = [k for k in wanted if k not in named and not k.endswith("num_batches_tracked")]
    assert not missing
    net.load_state_dict(named, strict=False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            module.eps = float(np.float32(module.eps))  # as the file has it
    return net.double().eval()


def agree(name: str, net: nn.Module, wanted: np.ndarray, rules: Any, init: str, limit: float = 1e-9) -> None:
    model = reflrp.load(NETWORKS / f"{name}.onnx")
    (y,) = model.run({"image": X}).values()
    own = net(torch.tensor(X, dtype=torch.float64)).detach().numpy()
    assert np.abs(own - y).max() <= limit * np.abs(y).max()
    got = reflrp.explain(model, X, rules=rules, init=init).relevance
    assert np.abs(got - wanted).max() <= limit * np.abs(wanted).max()


def by_zennit(net: nn.Module, composite: Any) -> np.ndarray:
    x = torch.tensor(X, dtype=torch.float64)
    start = torch.eye(10, dtype=torch.float64)[net(x).argmax(1)]
    with Gradient(model=net, composite=composite) as attributor:
        _, relevance = attributor(x, start)
    return relevance.detach().numpy()


class Summed(nn.Module):
    """A residual block whose sum is a module: zennit's, or captum's."""

    def __init__(self, block: nn.Module, kind: str) -> None:
        super().__init__()
        self.block, self.kind = block, kind
        if isinstance(block.shortcut, nn.Identity):  # captum has no rule for it
            block.shortcut = None
        self.add = Sum() if kind == "zennit" else Addition_Module()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b = self.block
        h = b.norm2(b.conv2(b.relu1(b.norm1(b.conv1(x)))))
        skip = b.shortcut(x) if b.shortcut else x
        return b.relu2(self.add(torch.stack([h, skip], -1)) if self.kind == "zennit" else self.add(h, skip))


def resnet(three: Any, kind: str) -> nn.Module:
    net = trained(three["Resnet"](), "resnet")
    for name in ("block1", "block2", "block3"):
        setattr(net, name, Summed(getattr(net, name), kind))
    return net


def test_zennit_on_vgg(three: Any) -> None:
    net = trained(three["Vgg"](), "vgg")
    agree("vgg", net, by_zennit(net, zennit.composites.EpsilonPlus()), "zennit.EpsilonPlus", "one")


def test_zennit_on_resnet(three: Any) -> None:
    net = resnet(three, "zennit")
    composite = zennit.composites.EpsilonPlus(canonizers=[ExactMerge()])
    rules = dialect.EpsilonPlus(canonizers=[dialect.ResNetCanonizer()])
    agree("resnet", net, by_zennit(net, composite), rules, "one")


def test_captum_on_resnet(three: Any) -> None:
    net = resnet(three, "captum")
    net.flatten.rule = EpsilonRule(epsilon=1e-30)  # none by default; it moves values only
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    relevance = LRP(net).attribute(x, target=net(x).argmax(1)).detach().numpy()
    agree("resnet", net, relevance, "captum.LRP", "output")


def test_pnpxai_on_vit(three: Any) -> None:
    class Encoder(three["Encoder"]):  # type: ignore[misc]
        def __init__(self, width: int, heads: int) -> None:
            super().__init__(width, heads)
            self.add1, self.add2 = Add(), Add()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.norm1(x)
            x = self.add1(x, self.attention(h, h, h, need_weights=False)[0])
            return self.add2(x, self.mlp(self.norm2(x)))

    class Vit(three["Vit"]):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.block1, self.block2, self.add = Encoder(24, 4), Encoder(24, 4), Add()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            h = self.patches(image).flatten(2).transpose(1, 2)
            h = self.add(torch.cat([self.token.expand(h.shape[0], -1, -1), h], 1), self.positions)
            return self.logits(self.norm(self.block2(self.block1(h)))[:, 0])

    net = trained(Vit(), "vit")
    wanted = by_zennit(net, theirs("LRPUniformEpsilon", 1e-6))
    # The file has the scale of attention in float32.
    agree("vit", net, wanted, "pnpxai.LRPUniformEpsilon(epsilon=1e-6)", "one", limit=1e-5)
