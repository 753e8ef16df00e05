"""Models and their weights behind links, as a Hugging Face cache has them: `snapshots/<revision>/...` leads to files in `blobs`."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from compiled import run
from models import draw, model

import reflrp
from reflrp.mapping.carried import carried

X, W = draw(2, 4), draw(4, 3)


def cache(root: Path, opset: int = 17, dtype: type = np.float32, location: str = "model.onnx_data") -> Path:
    """A model and its weights in a cache; the model's path in the snapshot."""
    w = W.astype(dtype)
    body = "y = MatMul(x, w)" if dtype == np.float32 else "a = Cast <to = 10>(x) b = MatMul(a, w) y = Cast <to = 1>(b)"
    proto = model(body, opset=opset, w=w)
    (tensor,) = proto.graph.initializer
    blobs, snapshot = root / "blobs", root / "snapshots" / "0123abcd" / "onnx"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "5678").write_bytes(w.tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (blobs / "1234").write_bytes(proto.SerializeToString())
    for name, blob in (("model.onnx", "1234"), ("model.onnx_data", "5678")):
        (snapshot / name).symlink_to(Path("..", "..", "..", "blobs", blob))
    return snapshot / "model.onnx"


def by_hand(target: int, w: np.ndarray = W) -> np.ndarray:
    """Relevance of a dense layer without a bias by epsilon = 0: x_i w_ij."""
    return X * w[:, target].astype(np.float32)


@pytest.mark.parametrize("backend", ["numpy", "onnxruntime"])
@pytest.mark.parametrize(("opset", "dtype"), [(17, np.float32), (12, np.float32), (17, np.float16)])
def test_a_cache(tmp_path: Path, opset: int, dtype: type, backend: str) -> None:
    path, near = cache(tmp_path, opset, dtype), 1e-6 if dtype == np.float32 else 1e-2
    rule = reflrp.rules.Epsilon(epsilon=0)
    wanted = by_hand(1, W.astype(dtype))
    found = reflrp.explain(path, X, rule, target=1, backend=backend).relevance
    np.testing.assert_allclose(found, wanted, atol=near)
    np.testing.assert_allclose(run(reflrp.compile(path, rule, target=1), {"x": X})["relevance/x"], wanted, atol=near)
    reflrp.compile(path, rule, target=1, out=tmp_path / "lrp.onnx")
    onnx.load(tmp_path / "lrp.onnx")


def test_the_folder_may_be_reached_by_a_link(tmp_path: Path) -> None:
    cache(tmp_path / "disk")
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    path = tmp_path / "home" / "snapshots" / "0123abcd" / "onnx" / "model.onnx"
    np.testing.assert_allclose(
        reflrp.explain(path, X, reflrp.rules.Epsilon(epsilon=0), target=0).relevance, by_hand(0), atol=1e-6
    )


def test_an_explainer_that_is_sent_elsewhere_is_loaded_by_its_link(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    there = carried(reflrp.Explainer(cache(tmp_path), reflrp.rules.Epsilon(epsilon=0)))._opened()
    np.testing.assert_allclose(there(X, target=0).relevance, by_hand(0), atol=1e-6)


@pytest.mark.parametrize("opset", [12, 17])
def test_links_within_the_folder(tmp_path: Path, opset: int) -> None:
    path = cache(tmp_path, opset)
    for name in ("model.onnx", "model.onnx_data"):
        data = (path.parent / name).read_bytes()
        (path.parent / name).unlink()
        (path.parent / f"own.{name}").write_bytes(data)
        (path.parent / name).symlink_to(f"own.{name}")
    rule = reflrp.rules.Epsilon(epsilon=0)
    for found in (
        reflrp.explain(path, X, rule, target=0).relevance,
        run(reflrp.compile(path, rule, target=0), {"x": X})["relevance/x"],
    ):
        np.testing.assert_allclose(found, by_hand(0), atol=1e-6)


def refused(path: Path, *words: str) -> None:
    for ask in (lambda: reflrp.explain(path, X), lambda: reflrp.compile(path, "epsilon")):
        with pytest.raises(reflrp.ModelError, match="refuses to read it") as caught:
            ask()
        assert all(word in str(caught.value) for word in words)


def test_what_is_refused(tmp_path: Path) -> None:
    """A file leads nowhere by itself: only where its own path is a link do the links beside it lead there, too."""
    path = cache(tmp_path / "one")
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    refused(path, "'w'", "'model.onnx_data'", str(tmp_path / "one" / "blobs" / "5678"), "cp -L")
    path = cache(tmp_path / "two")
    (tmp_path / "two" / "secret").mkdir()
    (path.parent / "model.onnx_data").unlink()
    (tmp_path / "two" / "secret" / "data").write_bytes(W.tobytes())
    (path.parent / "model.onnx_data").symlink_to(tmp_path / "two" / "secret" / "data")
    refused(path, "secret", "cp -L")
    for i, location in enumerate(("../../../blobs/5678", str(tmp_path / "three1" / "blobs" / "5678"))):
        refused(cache(tmp_path / f"three{i}", location=location), "bare name as location")
