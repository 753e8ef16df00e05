"""A loaded model: the parsed file, its graph at given input shapes, the forward pass, and the layer table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp import limits
from reflrp.arrays import Array, to_host
from reflrp.arrays.convert import converter
from reflrp.batches import Batch
from reflrp.batches.feeding import checked
from reflrp.batches.joined import joined
from reflrp.engine import Program
from reflrp.engine.weights import passing
from reflrp.errors import InputError, ModelError, UnsupportedOperator
from reflrp.ground import checks
from reflrp.ground.caches import Cache, tried
from reflrp.ground.views import shown
from reflrp.ir import Graph, Shape
from reflrp.limits import guarded
from reflrp.passes.bias import fuse_affine
from reflrp.passes.gates import mark_gates
from reflrp.passes.recognise import recognise
from reflrp.passes.sizes import check_size

if TYPE_CHECKING:
    from reflrp.importer.files.read import ModelLike
    from reflrp.importer.source import Source

Inputs = Array | Mapping[str, Array]
Key = tuple[tuple[str, Shape], ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A model, imported once. Make it with `reflrp.load`.

    The graphs at the input shapes that were asked for last are kept; many threads may ask for them at once.

    Attributes
    ----------
    source : Source
        The parsed file: nodes in order, folded constants, inputs and outputs.

    """

    source: Source
    _graphs: Cache[Key, Graph] = field(default_factory=lambda: Cache(4), repr=False)
    _refused: Cache[tuple[Key, int, float], Exception | None] = field(default_factory=lambda: Cache(16), repr=False)

    def __repr__(self) -> str:
        """Return what the file holds: nodes, numbers, inputs, outputs, opsets."""
        return repr(self.source).replace("Source", "Model", 1)

    def _repr_html_(self) -> str:
        html: str = shown("model_html", self)
        return html

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs: name -> dtype and dimensions, as the file declares them."""
        return {name: str(port) for name, port in self.source.inputs.items()}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs' names."""
        return self.source.outputs

    def output(self, name: str | None) -> str:
        """Return the output to explain: the one of that name, or the only one that carries relevance.

        Raises InputError where there is none, or where there are several and no name.
        """
        names = [o for o in self.outputs if o in self.source.active]
        if not names:
            raise InputError(
                "no output of the model depends on a float input or a token id; there is nothing to explain"
            )
        if name is None and len(names) > 1:
            raise InputError(f"the model has the outputs {names}; say which one to explain: output={names[0]!r}")
        if name is not None and checks.text("output", name) not in names:
            raise InputError(f"output={checks.shown(name)} is unknown or carries no relevance; the model has {names}")
        return names[0] if name is None else name

    @property
    def declared(self) -> dict[str, int | str | None]:
        """For each input with axes the size of the first, as the file says it: a number, a name, or None."""
        return {name: port.dims[0] for name, port in self.source.inputs.items() if port.dims}

    @limits.budget()
    def graph(self, shapes: Mapping[str, Shape], x: Mapping[str, np.ndarray] | None = None) -> Graph:
        """Return the graph at the given input shapes; the last few are kept.

        With `x` it is the graph of these inputs, as `feeds` returns them, and is not kept: sizes, branches and counts that
        depend on the data are those observed.

        Raises InputError where a shape does not fit, UnsupportedOperator where a node cannot be built; DependsOnData, which
        is one, where that takes the inputs' numbers.
        """
        self.source.mapped.check()
        shapes = self._shapes(shapes)
        if x is not None:
            return self._built(shapes, x)
        key = tuple((name, shapes[name]) for name in self.source.inputs)
        limited, refused = (key, limits.MEMORY, limits.TIME), (ModelError, InputError, UnsupportedOperator)
        return tried(self._refused, limited, lambda: self._graphs.made(key, lambda: self._built(shapes)), refused)

    def _built(self, shapes: Mapping[str, Shape], x: Mapping[str, np.ndarray] | None = None) -> Graph:
        from reflrp.importer.build import check_shapes

        check_shapes(self.source, shapes)
        with limits.blamed_on(self.source.name):
            graph = built(self.source, shapes, x)
        while self._made() + graph.made > limits.MEMORY and self._graphs.drop():
            pass
        return graph

    def _shapes(self, shapes: Any) -> dict[str, Shape]:
        """Return the inputs' shapes by name, checked to be shapes of all inputs."""
        given = checks.mapping("shapes", shapes, "a dict of the inputs' shapes by name")
        self._check_names(given, "shapes of inputs")
        return {name: checks.shape(f"shapes[{name!r}]", given[name]) for name in self.source.inputs}

    def _check_names(self, given: Mapping[str, Any], what: str) -> None:
        ports = self.source.inputs
        missing, unknown = sorted(set(ports) - set(given)), sorted(set(given) - set(ports))
        if missing or unknown:
            raise InputError(f"{what} missing: {missing}, unknown: {unknown}; the model expects {self._expected()}")

    def _made(self) -> int:
        """Return the bytes of the constants that the graphs hold, beside those that lie in the file."""
        return sum(graph.made for graph in self._graphs.values())

    def example_shapes(self, batch: int = 1) -> dict[str, Shape]:
        """Return the declared input shapes, with `batch` for the first axis and 1 for others that are left open."""
        batch = checks.whole("batch", batch, 0)
        found = {}
        for name, port in self.source.inputs.items():
            dims = port.dims or ()
            found[name] = tuple(d if isinstance(d, int) else batch if i == 0 else 1 for i, d in enumerate(dims))
        return found

    @guarded("the check of the inputs")
    def feeds(self, x: Inputs, exact: bool = False) -> dict[str, np.ndarray]:
        """Return the inputs by name as host arrays, checked against what the model expects; `exact` takes fractions too.

        Raises InputError, which says what was expected; ModelError where a file of weights that is mapped was written to.
        """
        self.source.mapped.check()
        ports, exact = self.source.inputs, checks.flag("exact", exact)
        if not isinstance(x, Mapping):
            if len(ports) != 1:
                raise InputError(f"the model has the inputs {self._expected()}; give a dict of arrays by name")
            x = {next(iter(ports)): x}
        self._check_names(checks.mapping("x", x, "an array, or a dict of arrays by input name"), "inputs")
        from reflrp.importer.build import check_shapes

        active, gaps = self.source.active, self.source.with_gaps
        feeds = {k: checked(k, x[k], port, k in active, k in gaps, exact) for k, port in ports.items()}
        check_shapes(self.source, {name: a.shape for name, a in feeds.items()}, free_batch=True)
        return feeds

    def _expected(self) -> str:
        return "; ".join(f"{name}: {port}" for name, port in self.source.inputs.items())

    @guarded("the forward pass")
    def run(self, x: Inputs, dtype: str = "float64", backend: str = "numpy") -> dict[str, np.ndarray]:
        """Return the outputs by name: the forward pass.

        Where the file fixes the batch size, a larger batch runs in parts of it.

        Parameters
        ----------
        x : array, or dict of arrays by input name
            Shapes as the model declares them, the batch first.
        dtype : str, default "float64"
            "float64" or "float32": what everything is computed in.
        backend : str, default "numpy"
            "numpy" or "cupy".

        Returns
        -------
        dict of array
            Every output of the model by its name, on the host.

        Raises
        ------
        InputError, UnsupportedOperator
            For arguments that do not fit; with every node that cannot be built at these shapes.
        NonFiniteError
            Where a NaN or an infinity arises; names the node.

        Examples
        --------
        >>> reflrp.load("model.onnx").run(x)["logits"].argmax(axis=1)  # doctest: +SKIP
        array([3, 1])

        """
        dtype, backend = checks.float_name(dtype), checks.text("backend", backend)
        feeds = self.feeds(x)
        batch = Batch(self, feeds, self.outputs)
        size = batch.baked(batch.count) if batch.count > 1 else None
        parts = []
        for cut, where in batch.named_cuts(size or batch.count):
            with where:
                parts.append(self._run(cut, dtype, backend))
        self.source.mapped.check()
        return parts[0] if len(parts) == 1 else {k: joined(k, [p[k] for p in parts]) for k in self.outputs}

    def _run(self, feeds: dict[str, np.ndarray], dtype: str, backend: str) -> dict[str, np.ndarray]:
        shapes = {name: a.shape for name, a in feeds.items()}
        try:
            return self._forward(self.graph(shapes), feeds, dtype, backend)
        except (ModelError, UnsupportedOperator) as error:
            if getattr(error, "final", False):
                raise
            return self._forward(
                self.graph(shapes, feeds), feeds, dtype, backend
            )  # what fails for zeros may be right here

    def _forward(self, graph: Graph, feeds: dict[str, np.ndarray], dtype: str, backend: str) -> dict[str, np.ndarray]:
        convert = converter(backend, dtype)
        check_size(graph, np.dtype(dtype).itemsize, keep=False)
        program = Program(graph, passing(graph, convert), {})
        values = program.forward({name: convert(a) for name, a in feeds.items()}, keep=False)
        found = {name: to_host(values[graph.resolve(name)]) for name in graph.outputs}
        return {name: found.get(name, graph.constants.get(name)) for name in self.outputs}  # type: ignore[misc]

    def summary(self, rules: Any = None, shapes: Mapping[str, Shape] | None = None) -> str:
        """Return the layer table: node, kind, shapes, parameters, ONNX provenance, and the assigned rule.

        Parameters
        ----------
        rules : optional
            As for `reflrp.explain`; adds the column of rules.
        shapes : dict, optional
            Input shapes, where the declared ones are not enough.

        """
        table: str = shown("summary", self, rules, None if shapes is None else self._shapes(shapes))
        return table


def built(source: Source, shapes: Mapping[str, Shape], x: Mapping[str, np.ndarray] | None = None) -> Graph:
    """Return the graph of a source at input shapes, with what the passes of the import recognise in it."""
    from reflrp.importer.build import build

    return mark_gates(recognise(fuse_affine(build(source, shapes, x))))


def load(model: ModelLike | Model) -> Model:
    """Import a model once; explain it often.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Model
        What to import: a file, external data beside it included; its bytes; a parsed proto. A Model comes back as it is.

    Returns
    -------
    Model
        With `summary()`, the layer table; `run(x)`, the forward pass; and what `Explainer` and `explain` take.

    Raises
    ------
    ModelError
        Where the file is missing, no ONNX model, truncated, or its graph invalid.
    UnsupportedOperator, TooLarge
        With every node on a path of relevance that reflrp cannot explain; where it asks for more than `reflrp.limits` allow.

    Examples
    --------
    >>> model = reflrp.load("model.onnx")  # doctest: +SKIP
    >>> print(model.summary())  # doctest: +SKIP

    """
    if isinstance(model, Model):
        return model
    from reflrp.importer import check_supported, parse

    source = parse(model)
    check_supported(source)
    return Model(source)
