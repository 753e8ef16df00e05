"""From the objects of other libraries to ours: which node of an ONNX file is which module of a living torch network.

Nothing of torch is imported; what is asked for is `named_modules()`, and of parameters `detach().cpu().double().numpy()`.
A node belongs to a module because the file says so (`scopes`), and is the module's own operation because it is of the
module's kind and, where it has weights, has exactly the module's (`network`). What is neither is refused by name.
"""

from reflrp.dialects.living.network import Network, Place
from reflrp.dialects.living.nodes import At
from reflrp.dialects.living.parts import Part

__all__ = ["At", "Network", "Part", "Place"]
