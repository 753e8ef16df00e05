"""Architectures of torchvision and timm: random weights, narrow or shallow where their constructors allow it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.architectures import Net, register
from zoo.torch_tools import image, plain, torchvision_library


def _tv() -> Any:
    return torchvision_library("torchvision.models")


def _whole(name: str, size: int = 64, **options: Any) -> Net:
    """Build one of torchvision's own configurations with ten classes."""
    net = getattr(_tv(), name)(weights=None, num_classes=10, **options)
    return plain(net, image(1, size))


def _resnet(block: str, **options: Any) -> Net:
    resnet = torchvision_library("torchvision.models.resnet")
    return plain(resnet.ResNet(getattr(resnet, block), [1, 1, 1, 1], num_classes=10, **options), image(1, 64))


def _alexnet() -> Net:
    net = _tv().alexnet(weights=None)
    net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Sequential(*_classifier(256))
    return plain(net, image(1, 128))


def _vgg(batch_norm: bool) -> Net:
    vgg = torchvision_library("torchvision.models.vgg")
    layers = vgg.make_layers([8, "M", 16, "M", 16, 16, "M", 32, 32, "M"], batch_norm)
    return plain(nn.Sequential(layers, nn.Flatten(), *_classifier(512)), image(1, 64))


def _classifier(width: int) -> list[nn.Module]:
    dense = nn.Linear(width, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    return [nn.Dropout(), *dense]


def _densenet() -> Net:
    net = _tv().DenseNet(8, (2, 3, 2, 2), 16, num_classes=10)
    return plain(net, image(1, 64))


def _convnext() -> Net:
    convnext = torchvision_library("torchvision.models.convnext")
    blocks = [convnext.CNBlockConfig(8, 16, 1), convnext.CNBlockConfig(16, 24, 2), convnext.CNBlockConfig(24, None, 1)]
    return plain(convnext.ConvNeXt(blocks, num_classes=10), image(1, 64))


def _vit() -> Net:
    return plain(_tv().VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10), image(1, 32))


def _swin(version: int) -> Net:
    swin = torchvision_library("torchvision.models.swin_transformer")
    parts = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2} if version == 2 else {}
    net = swin.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [4, 4], num_classes=10, **parts)
    return plain(net, image(1, 64))


def _maxvit() -> Net:
    net = _tv().MaxVit(
        (64, 64),
        stem_channels=8,
        partition_size=4,
        block_channels=[8, 16],
        block_layers=[1, 1],
        head_dim=4,
        stochastic_depth_prob=0.0,
        num_classes=10,
    )
    return plain(net, image(1, 64))


def _video() -> Net:
    net = torchvision_library("torchvision.models.video").r3d_18(weights=None, num_classes=10)
    return plain(net, torch.randn(1, 3, 4, 24, 24))


def _segmentation() -> Net:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            models = torchvision_library("torchvision.models.segmentation")
            self.net = models.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)["out"]

    return plain(Dense(), image(1, 64))


TORCHVISION = {
    "alexnet": _alexnet,
    "vgg": partial(_vgg, False),
    "vgg_bn": partial(_vgg, True),
    "resnet18": partial(_whole, "resnet18"),
    "resnet_bottleneck": partial(_resnet, "Bottleneck", width_per_group=16),
    "resnext": partial(_resnet, "Bottleneck", groups=4, width_per_group=4),
    "densenet": _densenet,
    "googlenet": partial(_whole, "googlenet", aux_logits=False, init_weights=False),
    "inception_v3": partial(_whole, "inception_v3", 80, aux_logits=False, init_weights=False),
    "mobilenet_v2": partial(_whole, "mobilenet_v2", width_mult=0.35),
    "mobilenet_v3_small": partial(_whole, "mobilenet_v3_small", width_mult=0.5),
    "mobilenet_v3_large": partial(_whole, "mobilenet_v3_large", width_mult=0.35),
    "efficientnet_b0": partial(_whole, "efficientnet_b0"),
    "shufflenet_v2": partial(_whole, "shufflenet_v2_x0_5"),
    "squeezenet": partial(_whole, "squeezenet1_1"),
    "regnet_y_400mf": partial(_whole, "regnet_y_400mf"),
    "regnet_x_400mf": partial(_whole, "regnet_x_400mf"),
    "mnasnet": partial(_whole, "mnasnet0_5"),
    "lraspp": _segmentation,
    "r3d_18": _video,
    "convnext": _convnext,
}
TORCHVISION_ATTENTION = {
    "vit": _vit,
    "swin": partial(_swin, 1),
    "swin_v2": partial(_swin, 2),
    "maxvit": _maxvit,
}

# timm's own tiny test nets, and others cut down: name -> options beside num_classes.
TIMM: dict[str, dict[str, Any]] = {
    "test_resnet": {},
    "test_efficientnet": {},
    "test_efficientnet_gn": {},
    "test_efficientnet_ln": {},
    "test_byobnet": {},
    "test_convnext": {},
    "test_convnext2": {},
    "test_nfnet": {},
    "test_mambaout": {},
    "resnetv2_50": {"layers": (1, 1), "channels": (32, 64), "stem_chs": 8},
    "seresnet18": {"layers": (1, 1, 1, 1), "channels": (16, 16, 24, 32)},
    "ecaresnet26t": {"layers": (1, 1, 1, 1), "channels": (16, 16, 24, 32)},
    "skresnet18": {"layers": (1, 1, 1, 1), "channels": (16, 16, 32, 32)},
    "res2net50_26w_4s": {"layers": (1, 1, 1, 1), "channels": (16, 16, 24, 32)},
    "ghostnet_050": {},
    "mobilenetv4_conv_small_035": {},
    "tf_mobilenetv3_small_minimal_100": {},
    "hardcorenas_a": {},
    "dla46_c": {},
}
TIMM_ATTENTION: dict[str, dict[str, Any]] = {
    "test_vit": {},
    "test_vit2": {},
    "test_vit3": {},
    "deit_tiny_distilled_patch16_224": {"depth": 2, "embed_dim": 24, "img_size": 64},
    "beit_base_patch16_224": {"depth": 2, "embed_dim": 24, "num_heads": 2, "img_size": 64},
    "eva02_tiny_patch14_224": {"depth": 2, "embed_dim": 24, "num_heads": 2, "img_size": 56},
    "xcit_nano_12_p16_224": {"depth": 2, "embed_dim": 16, "num_heads": 2, "cls_attn_layers": 1},
    "edgenext_xx_small": {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 24)},
    "mobilevit_xxs": {},
    "efficientvit_m0": {"img_size": 64, "window_size": (4, 4, 4)},
    "levit_128s": {"embed_dim": (16, 24, 32), "depth": (1, 1, 1), "key_dim": 4, "img_size": 64},
    "coatnet_pico_rw_224": {"img_size": 64, "embed_dim": (32, 32, 64, 64), "depths": (1, 1, 1, 1)},
}
# Their blocks in timm's MlpMixer: name -> (block, dense part).
MIXERS = {"mixer": ("MixerBlock", "Mlp"), "gmlp": ("SpatialGatingBlock", "GatedMlp"), "resmlp": ("ResBlock", "Mlp")}


def _timm(name: str, **options: Any) -> Net:
    timm = torchvision_library("timm")
    net = timm.create_model(name, pretrained=False, num_classes=10, **options)
    whole = net.default_cfg["input_size"][1] if name.startswith("test_") else 64
    size = options.get("img_size", whole)
    return plain(net, image(1, size))


def _mixer(block: str, dense: str) -> Net:
    mixer = torchvision_library("timm.models.mlp_mixer")
    parts = {"block_layer": getattr(mixer, block), "mlp_layer": getattr(mixer, dense)}
    ratio = (0.5, 4.0) if block == "MixerBlock" else 4
    return plain(mixer.MlpMixer(10, 64, num_blocks=2, embed_dim=16, mlp_ratio=ratio, **parts), image(1, 64))


def _poolformer() -> Net:
    metaformer = torchvision_library("timm.models.metaformer")
    net = metaformer.MetaFormer(num_classes=10, depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))
    return plain(net, image(1, 64))


for _name, _make in TORCHVISION.items():
    register(_name, _make, "conv", family="torchvision")
for _name, _make in TORCHVISION_ATTENTION.items():
    register(_name, _make, "attention", family="torchvision")
for _name, _options in TIMM.items():
    register(f"timm_{_name}", partial(_timm, _name, **_options), "conv", family="timm")
for _name, _options in TIMM_ATTENTION.items():
    register(f"timm_{_name}", partial(_timm, _name, **_options), "attention", family="timm")
for _name, _parts in MIXERS.items():
    register(f"timm_{_name}", partial(_mixer, *_parts), "dense", family="timm")
register("timm_poolformer", _poolformer, "conv", family="timm")
