"""Comparisons with other LRP libraries: run by `make peers`, where torch, zennit and captum are installed."""

import importlib.util
import warnings

import pytest

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch

    torch.set_num_threads(2)
    # torchvision's wheel is built for CUDA: beside a CPU torch it imports once these two operators exist.
    _library = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import captum.attr  # noqa: F401
        import torchvision  # noqa: F401
        import zennit  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever is collected here."""
    for item in items:
        if "peers" in item.path.parts:
            item.add_marker(pytest.mark.peers)
