"""From an ONNX file to the IR: the only part that names onnx.

`read` and `parse` make a `Source` of a file; `build` makes a graph of that at given input shapes, node by node, by the
`builders`.
"""

from reflrp.importer import builders
from reflrp.importer.parse import parse
from reflrp.importer.site import BUILDERS
from reflrp.importer.source import Source
from reflrp.importer.supported import check_supported

__all__ = ["BUILDERS", "Source", "builders", "check_supported", "parse"]
