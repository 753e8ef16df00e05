"""Batches: what callers feed a model, how it is cut, and how the parts are put together again."""

from reflrp.batches.batch import Batch, Feeds, samples_in
from reflrp.batches.choosing import choices

__all__ = ["Batch", "Feeds", "choices", "samples_in"]
