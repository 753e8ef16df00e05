"""Small float64 torch networks as captum needs them: functions stand in a forward method, and never in a module alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as fn
from captum.attr._utils.custom_modules import Addition_Module
from torch import nn

Way = Callable[[Any, torch.Tensor], torch.Tensor]


class Net(nn.Module):
    """Layers by name, and the way from input to output."""

    def __init__(self, way: Way, **layers: nn.Module) -> None:
        super().__init__()
        self.way = way
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.way(self, x)


def conv(a: int, b: int, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(a, b, kernel, **{"padding": kernel // 2, **options})


def mlp() -> Net:
    return Net(
        lambda n, x: n.c(n.q(n.b(n.p(n.a(x))))),
        a=nn.Linear(7, 9), p=nn.ReLU(), b=nn.Linear(9, 8, bias=False), q=nn.ReLU(), c=nn.Linear(8, 5),
    )  # fmt: skip


def vgg() -> Net:
    return Net(
        lambda n, x: n.fc(n.mean(n.q(n.b(n.pool(n.p(n.a(x)))))).flatten(1)),
        a=conv(3, 6), p=nn.ReLU(), pool=nn.MaxPool2d(2), b=conv(6, 8), q=nn.ReLU(), mean=nn.AvgPool2d(2),
        fc=nn.Linear(8 * 4, 5),
    )  # fmt: skip


def functional() -> Net:
    """The same with functions in place of modules: these are gradients to captum."""
    return Net(
        lambda n, x: n.fc(fn.avg_pool2d(fn.relu(n.b(fn.max_pool2d(fn.relu(n.a(x)), 2))), 2).flatten(1)),
        a=conv(3, 6), b=conv(6, 8), fc=nn.Linear(8 * 4, 5),
    )  # fmt: skip


def pools() -> Net:
    return Net(
        lambda n, x: n.fc(n.e(n.q(n.b(n.d(n.p(n.a(n.c(x))))))).flatten(1)),
        c=nn.AvgPool2d(2, 1, 1), a=conv(3, 5), p=nn.ReLU(), d=nn.MaxPool2d(3, 2, 1, ceil_mode=True), b=conv(5, 6),
        q=nn.ReLU(), e=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(6, 5),
    )  # fmt: skip


def overlapping() -> Net:
    return Net(
        lambda n, x: n.fc(n.m(n.b(n.p(n.d(n.a(x))))).mean((2, 3))),
        a=conv(3, 5), d=nn.AvgPool2d(3, 2, 1, count_include_pad=False), p=nn.Tanh(), b=conv(5, 6),
        m=nn.MaxPool2d(2, 1, dilation=2), fc=nn.Linear(6, 5),
    )  # fmt: skip


def norm_after() -> Net:
    return Net(
        lambda n, x: n.fc(n.g(n.q(n.w(n.b(n.p(n.v(n.a(x))))))).flatten(1)),
        a=conv(3, 6), v=nn.BatchNorm2d(6), p=nn.ReLU(), b=conv(6, 6, bias=False), w=nn.BatchNorm2d(6), q=nn.ReLU(),
        g=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(6, 5),
    )  # fmt: skip


def norm_before() -> Net:
    """BatchNorm first, behind a ReLU, and behind a pool."""
    return Net(
        lambda n, x: n.fc(n.u(n.m(n.q(n.b(n.w(n.p(n.a(n.v(x))))))))).mean((2, 3)),
        v=nn.BatchNorm2d(3), a=conv(3, 5), p=nn.ReLU(), w=nn.BatchNorm2d(5), b=conv(5, 5), q=nn.ReLU(),
        m=nn.MaxPool2d(2), u=nn.BatchNorm2d(5), fc=nn.Conv2d(5, 5, 1),
    )  # fmt: skip


def residual() -> Net:
    """captum's Addition_Module, with an identity and with a convolution beside the block."""

    def way(n: Any, x: torch.Tensor) -> torch.Tensor:
        x = n.p(n.stem(x))
        x = n.q(n.add1(n.b(n.r(n.a(x))), x))
        x = n.s(n.add2(n.d(n.t(n.c(x))), n.skip(x)))
        return n.fc(n.g(x).flatten(1))

    return Net(
        way, stem=conv(3, 4), p=nn.ReLU(), a=conv(4, 4), r=nn.ReLU(), b=conv(4, 4), add1=Addition_Module(), q=nn.ReLU(),
        c=conv(4, 6), t=nn.ReLU(), d=conv(6, 6), skip=conv(4, 6, 1), add2=Addition_Module(), s=nn.ReLU(),
        g=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(6, 5),
    )  # fmt: skip


def plus() -> Net:
    """The same sums as functions: relevance is doubled, and units are mixed."""

    def way(n: Any, x: torch.Tensor) -> torch.Tensor:
        x = n.stem(x)
        x = n.a(x) + x
        x = n.p(n.b(n.q(x)) + n.skip(x))
        return n.fc(n.g(x).flatten(1))

    return Net(
        way, stem=conv(3, 4), a=conv(4, 4), q=nn.ReLU(), b=conv(4, 4), skip=conv(4, 4, 1), p=nn.ReLU(),
        g=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(4, 5),
    )  # fmt: skip


def depthwise() -> Net:
    return Net(
        lambda n, x: n.fc(n.g(n.q(n.c(n.b(n.p(n.a(x)))))).flatten(1)),
        a=nn.Conv2d(3, 6, (3, 2), (2, 1), (0, 1), dilation=(1, 2), groups=3), p=nn.ReLU(), b=conv(6, 6, groups=6),
        c=conv(6, 8, 1), q=nn.ReLU(), g=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(8, 5),
    )  # fmt: skip


def dense_net() -> Net:
    """Each block's output beside its input: a value read by a layer and by a Concat."""

    def way(n: Any, x: torch.Tensor) -> torch.Tensor:
        x = n.p(n.stem(x))
        x = torch.cat([x, n.q(n.a(x))], dim=1)
        x = torch.cat([x, n.b(x)], dim=1)
        return n.fc(n.g(n.r(x)).flatten(1))

    return Net(
        way, stem=conv(3, 4), p=nn.ReLU(), a=conv(4, 3), q=nn.ReLU(), b=conv(7, 3), r=nn.ReLU(),
        g=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(10, 5),
    )  # fmt: skip


def inception() -> Net:
    """Branches that read one value, pools among them."""

    def way(n: Any, x: torch.Tensor) -> torch.Tensor:
        x = n.stem(x)
        x = torch.cat([n.p(n.a(x)), n.b(n.q(x)), n.c(n.m(x)), n.d(n.v(x))], dim=1)
        return n.fc(n.g(n.r(x)).flatten(1))

    return Net(
        way, stem=conv(3, 4), a=conv(4, 3, 1), p=nn.ReLU(), q=nn.ReLU(), b=conv(4, 3), m=nn.MaxPool2d(3, 1, 1),
        c=conv(4, 2), v=nn.AvgPool2d(3, 1, 1), d=conv(4, 2), r=nn.Tanh(), g=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(10, 5),
    )  # fmt: skip


def preactivated() -> Net:
    """A value read by a ReLU and by a sum: the ReLU's hook puts its relevance in the place of the sum's."""

    def way(n: Any, x: torch.Tensor) -> torch.Tensor:
        x = n.stem(x)
        x = n.add1(n.a(n.p(x)), x)
        x = n.add2(x, n.b(n.q(x)))
        return n.fc(n.g(n.r(x)).flatten(1))

    return Net(
        way, stem=conv(3, 4), p=nn.ReLU(), a=conv(4, 4), add1=Addition_Module(), q=nn.ReLU(), b=conv(4, 4),
        add2=Addition_Module(), r=nn.ReLU(), g=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(4, 5),
    )  # fmt: skip


def shared_relu_output() -> Net:
    """What a ReLU makes is read by a function first, by a Tanh, and by layers."""

    def way(n: Any, x: torch.Tensor) -> torch.Tensor:
        x = n.p(n.stem(x))
        y = torch.cat([x * 0.5, n.q(x), n.a(x), n.b(x)], dim=1)
        y = n.r(y)
        return n.fc(n.g(n.add(n.s(y), n.c(y))).flatten(1))

    return Net(
        way, stem=conv(3, 4), p=nn.ReLU(), q=nn.Tanh(), a=conv(4, 3), b=conv(4, 2), r=nn.ReLU(), s=nn.Tanh(),
        c=conv(13, 13), add=Addition_Module(), g=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(13, 5),
    )  # fmt: skip


def stacked() -> Net:
    """Activations behind activations, and Dropout."""
    return Net(
        lambda n, x: n.c(n.s(n.e(n.r(n.b(n.d(n.q(n.p(n.a(x))))))))),
        a=nn.Linear(7, 9), p=nn.ReLU(), q=nn.Tanh(), d=nn.Dropout(), b=nn.Linear(9, 8), r=nn.Tanh(), e=nn.Tanh(),
        s=nn.ReLU(), c=nn.Linear(8, 5),
    )  # fmt: skip


def functions() -> Net:
    """Functions that have no hook: activations, a product, a softmax, a scale, a mean, a constant."""

    def way(n: Any, x: torch.Tensor) -> torch.Tensor:
        x = fn.gelu(n.a(x)) * 1.5 + 0.25
        x = n.b(x * torch.sigmoid(x))
        x = n.c(x.softmax(1) - x.mean(1, keepdim=True))
        return n.fc(fn.leaky_relu(x, 0.125))

    return Net(way, a=nn.Linear(7, 9), b=nn.Linear(9, 8), c=nn.Linear(8, 6), fc=nn.Linear(6, 5))


def tokens() -> Net:
    """Dense layers on (N, tokens, features)."""
    return Net(
        lambda n, x: n.c(n.q(n.add(n.b(n.p(n.a(x))), n.a2(x))).flatten(1)),
        a=nn.Linear(6, 8), p=nn.ReLU(), b=nn.Linear(8, 8), a2=nn.Linear(6, 8), add=Addition_Module(), q=nn.ReLU(),
        c=nn.Linear(32, 5),
    )  # fmt: skip


def twice() -> Net:
    """One value as both inputs of a sum, and read by two layers."""
    return Net(
        lambda n, x: n.c(n.add2(n.q(n.add(n.a(x), n.b(x))), n.d(n.add3(x, x)))),
        a=nn.Linear(7, 7), b=nn.Linear(7, 7), add=Addition_Module(), q=nn.ReLU(), add3=Addition_Module(),
        d=nn.Linear(7, 7), add2=Addition_Module(), c=nn.Linear(7, 5),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (7,)),
    "vgg": (vgg, (3, 8, 8)),
    "functional": (functional, (3, 8, 8)),
    "pools": (pools, (3, 9, 8)),
    "overlapping": (overlapping, (3, 9, 9)),
    "norm_after": (norm_after, (3, 6, 6)),
    "norm_before": (norm_before, (3, 6, 6)),
    "residual": (residual, (3, 6, 6)),
    "plus": (plus, (3, 6, 6)),
    "depthwise": (depthwise, (3, 9, 8)),
    "dense_net": (dense_net, (3, 6, 6)),
    "inception": (inception, (3, 6, 6)),
    "preactivated": (preactivated, (3, 6, 6)),
    "shared_relu_output": (shared_relu_output, (3, 6, 6)),
    "stacked": (stacked, (7,)),
    "functions": (functions, (7,)),
    "tokens": (tokens, (4, 6)),
    "twice": (twice, (7,)),
}
"""Networks that captum takes as they are."""


def one_dimensional() -> Net:
    return Net(
        lambda n, x: n.fc(n.m(n.q(n.b(n.k(n.p(n.v(n.a(x)))))))).flatten(1),
        a=nn.Conv1d(4, 8, 3, padding=2, dilation=2), v=nn.BatchNorm1d(8), p=nn.ReLU(), k=nn.MaxPool1d(2),
        b=nn.Conv1d(8, 6, 3, stride=2, groups=2), q=nn.ReLU(), m=nn.AvgPool1d(2), fc=nn.Conv1d(6, 5, 1),
    )  # fmt: skip


def three_dimensional() -> Net:
    return Net(
        lambda n, x: n.fc(n.m(n.q(n.b(n.k(n.p(n.a(x)))))).flatten(1)),
        a=nn.Conv3d(2, 4, 3, padding=1), p=nn.ReLU(), k=nn.MaxPool3d(2), b=nn.Conv3d(4, 6, 2), q=nn.ReLU(),
        m=nn.AvgPool3d((1, 2, 2), stride=1), fc=nn.Linear(12, 5),
    )  # fmt: skip


def transposed() -> Net:
    return Net(
        lambda n, x: n.fc(n.r(n.c(fn.interpolate(n.b(n.q(n.up(n.p(n.a(x))))), scale_factor=2))).mean((2, 3))),
        a=nn.Conv2d(2, 6, 3, 2, 1), p=nn.ReLU(), up=nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1), q=nn.ReLU(),
        b=nn.ConvTranspose2d(4, 4, 2, groups=2, dilation=2), c=conv(4, 3), r=nn.ReLU(), fc=nn.Linear(3, 5),
    )  # fmt: skip


def one_dimensional_up() -> Net:
    return Net(
        lambda n, x: n.fc(n.g(n.p(n.a(n.up(x)))).flatten(1)),
        up=nn.ConvTranspose1d(3, 4, 4, 2, 1), a=nn.Conv1d(4, 4, 3), p=nn.ReLU(), g=nn.AvgPool1d(4), fc=nn.Linear(8, 5),
    )  # fmt: skip


RULED_NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "one_dimensional": (one_dimensional, (4, 13)),
    "three_dimensional": (three_dimensional, (2, 6, 6, 6)),
    "transposed": (transposed, (2, 8, 8)),
    "one_dimensional_up": (one_dimensional_up, (3, 6)),
}
"""Networks with layers for which captum has no default rule."""
