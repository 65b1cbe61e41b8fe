"""Puts this folder on sys.path, so that tests and the scripts they run in namespaces both import `hosts`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
