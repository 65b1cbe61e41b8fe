"""The repository's address, and the README as PyPI shows it; everything else is in pyproject.toml.

PyPI knows no files of the repository, so links and pictures need whole addresses there. The address is in no file: a
release takes it from the workflow that builds it (`ALEXKIT_REPOSITORY=https://github.com/ORG/NAME`), a build from an
sdist from the sdist. Other builds carry the README as it is, and no addresses.
"""

import os
import re
from email.parser import HeaderParser
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
PICTURES = (".png", ".svg")


def repository() -> str | None:
    """The address of the repository, without a slash at its end."""
    if address := os.environ.get("ALEXKIT_REPOSITORY"):
        return address.rstrip("/")
    of_an_sdist = ROOT / "PKG-INFO"
    metadata = HeaderParser().parsestr(of_an_sdist.read_text("utf-8") if of_an_sdist.exists() else "")
    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    return urls.get("Source")


def with_whole_addresses(text: str, base: str, version: str) -> str:
    """`text` whose links and pictures lead to the files of one release."""

    def whole(link: re.Match[str]) -> str:
        before, path = link.groups()
        kind = "raw" if path.endswith(PICTURES) else "blob"
        return f"{before}{base}/{kind}/v{version}/{path}"

    return re.sub(r"""(\]\(|\bsrc="|\bsrcset=")(?![a-z]+:|#)([^)"\s]+)""", whole, text)


def metadata() -> dict[str, object]:
    """What depends on the address."""
    readme, base = (ROOT / "README.md").read_text("utf-8"), repository()
    found: dict[str, object] = {"long_description": readme, "long_description_content_type": "text/markdown"}
    if base is None:
        return found
    source = (ROOT / "src/alexkit/__init__.py").read_text("utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)[0]
    pages = {"Source": "", "Issues": "/issues", "Changelog": f"/blob/v{version}/CHANGELOG.md"}
    pages["Documentation"] = f"/tree/v{version}/docs"
    found["long_description"] = with_whole_addresses(readme, base, version)
    found["project_urls"] = {name: base + path for name, path in pages.items()}
    return found


if __name__ == "__main__":
    setup(**metadata())
