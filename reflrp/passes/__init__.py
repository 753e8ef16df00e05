"""Passes: pure functions Graph -> Graph, between the import and the rules.

`canonize` folds and strips on request; `recognise` finds functions that exporters take apart, by proof (`region` reads a part
of the graph as an expression, `algebra` and `functions` bring it to a normal form, `identify` compares it with the known
ones); `gates` marks products of which one factor only switches.
"""
