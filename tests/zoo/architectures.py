"""The registry of architectures: name -> how to build it, which exporters to use, what it is made of.

A maker takes nothing and returns a `Net`: a module (or a fitted estimator) and its example inputs. It is called with
its framework's random generator seeded. Nothing here imports a framework; `load(framework)` imports the files that do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

TORCH_EXPORTERS = ("dynamo", "legacy")
DYNAMIC = ("dynamo", "dynamic", "legacy")
ALL = ("dynamo", "dynamic", "opset23", "unfolded", "legacy", "legacy14", "fused")
QUANTISED = (*ALL, "qdq")
FILES = {
    "torch": (
        "own_dense",
        "own_joined",
        "own_conv",
        "own_unet",
        "own_attention",
        "own_recurrent",
        "vision",
        "language",
    ),
    "sklearn": ("sklearn_nets",),
    "keras": ("keras_nets",),
}
# Presets by tag, the first that the installed reflrp knows; the first tag found decides.
PRESETS = {
    "attention": ("attnlrp", "epsilon"),
    "recurrent": ("epsilon",),
    "conv": ("epsilon_plus",),
    "dense": ("epsilon",),
}


@dataclass(frozen=True)
class Net:
    """What a maker makes: a module, and its inputs by name in the order of the module's arguments."""

    module: Any
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """One architecture of the zoo.

    Attributes
    ----------
    family : str
        Where it comes from: own, torchvision, timm, transformers, scikit-learn or keras.
    tags : tuple of str
        What it is made of: conv, dense, attention, recurrent; the first decides the preset.
    exporters : tuple of str
        Which exporters to use.
    file : str
        The module that it is written in.
    output : str, optional
        The output to explain, where it is not the first that carries relevance.

    """

    name: str
    framework: str
    family: str
    make: Callable[[], Net]
    tags: tuple[str, ...]
    exporters: tuple[str, ...]
    file: str
    output: str | None = None

    @property
    def presets(self) -> tuple[str, ...]:
        """Presets to explain it with, the best one first."""
        return next((PRESETS[tag] for tag in self.tags if tag in PRESETS), ("epsilon",))


REGISTRY: dict[str, Architecture] = {}


def register(
    name: str,
    make: Callable[[], Net],
    *tags: str,
    family: str = "own",
    framework: str = "torch",
    exporters: tuple[str, ...] = TORCH_EXPORTERS,
    output: str | None = None,
) -> None:
    """Enter one architecture; a name can be taken once."""
    if name in REGISTRY:
        raise ValueError(f"{name} is there twice")
    made = getattr(make, "func", make)  # a partial has no module
    file = str(made.__module__)
    REGISTRY[name] = Architecture(name, framework, family, make, tags, exporters, file, output)


def net(*tags: str, **options: Any) -> Callable[[Callable[[], Net]], Callable[[], Net]]:
    """Enter the decorated maker under its own name; the options are those of `register`."""

    def enter(make: Callable[[], Net]) -> Callable[[], Net]:
        register(make.__name__, make, *tags, **options)
        return make

    return enter


def load(framework: str) -> dict[str, Architecture]:
    """Import the files of one framework and return its architectures."""
    for file in FILES[framework]:
        import_module(f"zoo.{file}")
    return {name: a for name, a in REGISTRY.items() if a.framework == framework}
