"""`python -m alexkit prep|train|eval ...`: the three commands for environments in which no scripts are installed."""

import sys

from .cli.main import alexkit

if __name__ == "__main__":
    sys.exit(alexkit(prog_name="python -m alexkit"))
