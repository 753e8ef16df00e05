"""Batches: what callers feed a model, how it is cut, and how the parts are put together again."""

from reflrp.batches.batch import Batch, Feeds, choices, samples_in

__all__ = ["Batch", "Feeds", "choices", "samples_in"]
