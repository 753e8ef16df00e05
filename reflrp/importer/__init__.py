"""From an ONNX file to the IR. With `reflrp.symbolic`, the only part that names onnx."""

from reflrp.importer import (  # noqa: F401 (they fill the table)
    ops_attention,
    ops_control,
    ops_indexed,
    ops_linear,
    ops_microsoft,
    ops_ml,
    ops_norm,
    ops_pointwise,
    ops_pool,
    ops_quantised,
    ops_recurrent,
    ops_routing,
    ops_tensor,
)
from reflrp.importer.parse import Source, parse
from reflrp.importer.site import BUILDERS
from reflrp.importer.supported import check_supported

__all__ = ["BUILDERS", "Source", "check_supported", "parse"]
