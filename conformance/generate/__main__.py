"""`python -m reflrp.conformance.generate FOLDER` writes the vectors."""

import sys
from pathlib import Path

from reflrp.conformance.generate import drafts
from reflrp.conformance.generate.write import write

print(f"{write(drafts(), Path(sys.argv[1]))} cases")
