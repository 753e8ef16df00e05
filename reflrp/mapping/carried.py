"""An explainer on its way to other processes: its model travels as a path where it has one, and is loaded once a process."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from reflrp.errors import InputError
from reflrp.ground.caches import Cache
from reflrp.mapping import digests
from reflrp.mapping.work import Explains
from reflrp.model import Model, load

_HERE: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""The explainers that this process sent: threads of its own take these."""

_OPENED: Cache[str, Any] = Cache(2)
"""The explainers that this process got."""


@dataclass(frozen=True)
class Carried:
    """An explainer as bytes, and which model it is of.

    Attributes
    ----------
    path : str, optional
        The model's file, which the other process must have under the same name; None: the model is among the bytes.
    digest : str
        The model's sha256, which what is loaded there must have.
    data : bytes

    """

    path: str | None
    digest: str
    data: bytes = field(repr=False)

    @property
    def key(self) -> str:
        """What tells it from another."""
        return sha256(f"{self.path} {self.digest} ".encode() + self.data).hexdigest()

    def explainer(self) -> Any:
        """Return the explainer, made once a process."""
        key = self.key
        found = _HERE.get(key)
        return _OPENED.made(key, self._opened) if found is None else found

    def _opened(self) -> Any:
        unpickler = pickle.Unpickler(io.BytesIO(self.data))
        unpickler.persistent_load = lambda _: self._model()  # type: ignore[method-assign]
        return unpickler.load()

    def _model(self) -> Model:
        model = load(str(self.path))
        if digests.of_model(model) != self.digest:
            raise InputError(
                f"{self.path} is another model here than where the explainer was made, or was changed since"
            )
        return model


def carried(explainer: Explains) -> Carried:
    """Return an explainer ready to be sent. Raises InputError for one that holds what no other process can get."""
    import cloudpickle  # it comes with dask

    model, file = explainer.model, io.BytesIO()
    path = str(Path(model.source.name).absolute()) if Path(model.source.name).is_file() else None
    pickler = cloudpickle.Pickler(file)
    if path is not None:
        pickler.persistent_id = lambda thing: "model" if thing is model else None
    try:
        pickler.dump(explainer)
    except Exception as error:  # whatever an object raises that cannot be pickled
        raise InputError(f"the explainer cannot be sent to other processes: {error}") from error
    found = Carried(path, digests.of_model(model), file.getvalue())
    _HERE[found.key] = explainer
    return found
