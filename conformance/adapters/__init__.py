"""Adapters: what stands between the runner and a library. Each file imports its library, so none is imported here."""
