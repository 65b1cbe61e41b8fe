"""The lowest versions that pyproject.toml allows, as constraints for pip: `python .ci/lowest.py > lowest.txt`."""

import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def lowest(*extras: str) -> list[str]:
    """`NAME==BOUND` for what the base install and `extras` need directly, with the same markers.

    Each bound in pyproject.toml is a release, so that pip finds it.
    """
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    found, waiting = [], [*project["dependencies"], f"alexkit[{','.join(extras)}]"]
    while waiting:
        line = waiting.pop()
        if line.startswith("alexkit["):
            for extra in line.removeprefix("alexkit[").removesuffix("]").split(","):
                waiting += project["optional-dependencies"][extra]
        else:
            found.append(line.replace(">=", "==", 1))
    return sorted(set(found))


if __name__ == "__main__":
    print("\n".join(lowest("all", "cu12")))
