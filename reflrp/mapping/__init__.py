"""Data sets larger than memory: read piece by piece, explained, and written piece by piece; `Explainer.map` begins here."""

from reflrp.mapping.pictures import Images
from reflrp.mapping.run import Maps

__all__ = ["Images", "Maps"]
