"""The hosts of these tests are a module beside them, which the scripts that run within namespaces import too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
