"""Words that only this project used do not come back, and spelling is American."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("src/alexkit", "src/alexkit/prep", "src/alexkit/pipeline", "src/alexkit/model", "src/alexkit/cli")
SUFFIXES = (".py", ".md", ".toml", ".yml", ".cff")

# What not to write, and the field's word for it.
WORDS = {
    r"rotten": "corrupt",
    r"condemned": "poisoned",
    r"foreign": "adopted, made elsewhere",
    r"paces": "param_groups",
    r"beats?": "heartbeat",
    r"free play": "slack",
    r"continuing behind|behind step": "resuming after",
    r"(says|names) what mends": "says how to fix",
    r"centre[sd]?": "center",
    r"colours?": "color",
    r"grey": "gray",
    r"neighbour\w*": "neighbor",
    r"normalis\w*": "normalize",
    r"((store|signed|presigned) |(folder|path) or (an )?)address(es)?": "URL",
}
# Keys and values of earlier versions, which are still read.
STILL_READ = re.compile(r"""["']colour["']|["']centre["']|data\.mean=centre""")


def pages() -> list[Path]:
    """Every text of ours but the changelog, which tells of old names, and this file."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    for folder in ("tests", "docs", "benchmarks", "examples", ".github"):
        found += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES and "_build" not in path.parts]
    found += [path for path in ROOT.iterdir() if path.suffix in SUFFIXES and path.name != "CHANGELOG.md"]
    return [path for path in found if path != Path(__file__)]


@pytest.mark.parametrize("pattern", WORDS)
def test_private_words_do_not_come_back(pattern: str) -> None:
    word = re.compile(rf"(?<![A-Za-z])({pattern})(?![a-z])", re.IGNORECASE)
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in pages()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if word.search(STILL_READ.sub("", line))
    ]
    assert not hits, f"write {WORDS[pattern]!r}:\n" + "\n".join(hits)
