"""dask arrays: lazy, in chunks of whole samples, on processes that may be killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import onnx
import pytest
from dask.distributed import Client, LocalCluster
from models import draw, model

import reflrp
from reflrp.mapping import carried, lazy
from reflrp.mapping.work import Asked, Chunk

NET = model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", w=(4, 6), v=(6, 3))
X = draw(60, 4)


@pytest.fixture
def explainer(tmp_path: Path) -> reflrp.Explainer:
    onnx.save(NET, tmp_path / "m.onnx")
    return reflrp.Explainer(tmp_path / "m.onnx", "epsilon_plus")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two processes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as found:
        yield found


def files(store: Path) -> dict[str, bytes]:
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file()}


ASKED: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a target for each": {"target": np.arange(60) % 3},
    "contrasts": {"target": reflrp.Contrast(np.arange(60) % 3, [(i + 1) % 3 for i in range(60)])},
    "an init": {"init": draw(60, 3)},
    "a dask init": {"init": da.from_array(draw(60, 3), chunks=11)},
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("size", [None, 20])
def test_arrays_in_arrays_out(explainer: reflrp.Explainer, asked: str, size: int | None) -> None:
    given = {k: v.compute() if hasattr(v, "compute") else v for k, v in ASKED[asked].items()}
    whole, found = explainer(X, **given), explainer.map(da.from_array(X, (7, 2)), batch_size=size, **ASKED[asked])
    assert found.relevance.chunks == ((20,) * 3 if size else (7,) * 8 + (4,), (4,))
    R, y, target, against = dask.compute(found.relevance, found.output, found.target, found.against)
    assert np.allclose(R, whole.relevance, rtol=0, atol=1e-12)
    assert np.allclose(y, whole.output, rtol=0, atol=1e-12)
    assert R.dtype == found.relevance.dtype
    if against is not None:
        pairs = zip(target.tolist(), against.tolist(), strict=True)
        assert [reflrp.Contrast(tuple(t), tuple(a)) for t, a in pairs] == list(whole.target)
    elif target is not None:
        assert list(map(tuple, target.tolist())) == list(whole.target)
    else:
        assert "init" in given


def test_nothing_is_computed_before_it_is_asked_for(explainer: reflrp.Explainer) -> None:
    def never(block: np.ndarray) -> np.ndarray:
        raise AssertionError

    x = da.from_array(X, (10, 4)).map_blocks(never, dtype=X.dtype, meta=X[:0])
    assert explainer.map(x).relevance.shape == (60, 4)


def test_the_store_is_that_of_an_array(explainer: reflrp.Explainer, tmp_path: Path) -> None:
    explainer.map(X, tmp_path / "a.zarr", batch_size=8, layers="r")
    explainer.map(da.from_array(X, (7, 2)), tmp_path / "b.zarr", batch_size=8, layers="r")
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")
    with pytest.raises(reflrp.InputError, match="other data: samples 56 to 59"):
        explainer.map(da.from_array(np.where(np.arange(60)[:, None] < 57, X, 0), 60), tmp_path / "b.zarr", layers="r")


def test_a_place_is_the_same_for_workers_that_stand_in_another_folder(
    cluster: LocalCluster, explainer: reflrp.Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Client(cluster):
        found = explainer.map(da.from_array(X, (20, 4)), "r.zarr")
    assert np.allclose(found["relevance/x"][:], explainer(X).relevance, rtol=0, atol=1e-12)
    part = Chunk(0, {"x": X[:20]}, None, "output")
    with pytest.raises(reflrp.InputError, match=r"elsewhere.zarr is not there for this worker"):
        lazy._written(carried.carried(explainer), Asked(), "elsewhere.zarr", 20, part, False)


def test_refused_by_name(explainer: reflrp.Explainer) -> None:
    x = da.from_array(X, (10, 4))
    meeting = model("m = ReduceMean <axes = [0], keepdims = 1>(x) d = Sub(x, m) y = MatMul(d, w)", w=(4, 3))
    with pytest.raises(reflrp.InputError, match="samples meet in node"):
        reflrp.Explainer(meeting, "epsilon").map(x)
    with pytest.raises(reflrp.InputError, match="compute_chunk_sizes"):
        explainer.map(x[x[:, 0] > 0])
    with pytest.raises(reflrp.InputError, match="which shape 'x' has is not known; call its compute_chunk_sizes"):
        explainer.map(x[:, da.from_array(np.array([True] * 4))])
    with pytest.raises(reflrp.InputError, match="layers="):
        explainer.map(x, layers=True)
    with pytest.raises(reflrp.InputError, match="progress"):
        explainer.map(x, progress=True)


def test_a_file_that_was_changed_since(explainer: reflrp.Explainer, tmp_path: Path) -> None:
    sent = carried.carried(explainer)
    assert sent.explainer() is explainer
    assert len(sent.data) < 20_000
    onnx.save(model("y = MatMul(x, w)", w=(4, 3)), tmp_path / "m.onnx")
    with pytest.raises(reflrp.InputError, match="was changed since"):
        sent._opened()


def test_models_without_a_file_and_rules_with_a_function(cluster: LocalCluster) -> None:
    """A function may look at all samples: only a single chunk is explained by it."""
    explainer = reflrp.Explainer(NET, reflrp.rules.Epsilon(stabilizer=lambda z: z + 1e-3))
    with Client(cluster):
        found = explainer.map(da.from_array(X, (60, 4))).relevance.compute()
    assert np.allclose(found, explainer(X).relevance, rtol=0, atol=1e-12)
    with pytest.raises(reflrp.InputError, match="looks at all samples"):
        explainer.map(da.from_array(X, (20, 4)))


def kill_workers(cluster: LocalCluster, store: Path, moments: list[int], killed: list[int]) -> None:
    """Kill a process of the cluster each time that so many chunks are there."""
    for i, moment in enumerate(moments):
        while len(list(store.glob("sha256/c/*"))) < moment:
            time.sleep(0.005)
        nanny = list(cluster.workers.values())[i % 2]
        if nanny.pid is not None:
            os.kill(nanny.pid, signal.SIGKILL)
            killed.append(nanny.pid)


def test_killed_workers(cluster: LocalCluster, explainer: reflrp.Explainer, tmp_path: Path) -> None:
    """The store is that of one process that nobody disturbed, byte for byte; each process loads the model once."""
    killed: list[int] = []
    given = (cluster, tmp_path / "killed.zarr", [5, 20, 35], killed)
    killer = threading.Thread(target=kill_workers, args=given, daemon=True)
    explainer.map(X, tmp_path / "whole.zarr", batch_size=1)
    with Client(cluster) as client:
        killer.start()
        explainer.map(da.from_array(X, (1, 4)), tmp_path / "killed.zarr")
        killer.join(60)
        kept = client.run(lambda: len(carried._OPENED))
    assert len(killed) >= 2
    assert set(kept.values()) <= {0, 1}
    assert files(tmp_path / "killed.zarr") == files(tmp_path / "whole.zarr")
