"""Adapters of our dialects: each answers the cases by the rules that we have under a library's names.

What a library was found to give (conformance/reports) is what its dialect must give: tests/test_dialects_conform.py.
"""
