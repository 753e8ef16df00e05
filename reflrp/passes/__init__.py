"""Passes: pure functions Graph -> Graph, between the import and the rules.

`canonize` folds and strips on request; `recognise` (with `identify`) finds functions that exporters take apart; `gates`
marks products of which one factor only switches.
"""
