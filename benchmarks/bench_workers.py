"""Throughput of `Explainer.map` on dask arrays against the number of worker processes, one thread each.

    OMP_NUM_THREADS=1 python benchmarks/bench_workers.py MODEL.onnx [--workers 1 2] [--chunks 12] [--size 4] [--repeat 3]

needs reflrp[dask]. The clusters stand side by side and are timed by turns, so that a busy machine meets them alike. "begin" is the
first chunk of each worker: to load the model and derive its weights. "alone" is the same work in this process, without dask.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import reflrp


def main() -> None:
    """Print the table."""
    import dask.array as da
    import zarr
    from dask.distributed import Client, LocalCluster

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--chunks", type=int, default=12)
    parser.add_argument("--size", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rules", default="epsilon_plus_flat")
    options = parser.parse_args()
    explainer = reflrp.Explainer(options.model, options.rules, dtype="float32")
    (shape,) = explainer.model.example_shapes(options.chunks * options.size).values()
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        lazy = da.from_zarr(zarr.create_array(f"{folder}/x.zarr", data=x, chunks=(options.size, *shape[1:])))

        def cluster(n: int) -> Any:
            found = LocalCluster(n_workers=n, threads_per_worker=1, processes=True, dashboard_address=":0")
            return stack.enter_context(Client(stack.enter_context(found), set_as_default=False))

        clients = {n: cluster(n) for n in options.workers}
        times: dict[str, list[float]] = {}

        def timed(name: str, data: Any, client: Any = None) -> None:
            out = Path(folder) / f"{time.monotonic_ns()}.zarr"
            start = time.perf_counter()
            if client is None:
                explainer.map(data, out, batch_size=options.size)
            else:
                with client.as_current():
                    explainer.map(data, out, batch_size=options.size)
            times.setdefault(name, []).append(time.perf_counter() - start)
            print(f"# {name}: {times[name][-1]:.2f} s", flush=True)

        for n, client in clients.items():
            timed(f"begin {n}", lazy[: n * options.size], client)
        timed("alone, begin", x[: options.size])
        for _ in range(options.repeat):
            timed("alone", x)
            for n, client in clients.items():
                timed(f"{n}", lazy, client)
    print(f"{options.model.name}, {options.rules}, float32, chunks of {options.size}, {options.chunks} chunks")
    for name, found in times.items():
        rate = "" if "begin" in name else f"{len(x) / min(found):8.2f} samples/s"
        print(f"{name:14} {min(found):8.2f} s {rate}")


if __name__ == "__main__":
    main()
