"""How Sphinx builds the documentation: `make docs`, with every warning an error."""

import alexkit

project = "alexkit"
author = "the alexkit contributors"
copyright = author
version = release = alexkit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes listed in a docstring are not described a second time
# Docstrings name things as `name`; RST reads that as code, too.
default_role = "code"

html_theme = "furo"
html_title = f"alexkit {release}"
html_theme_options = {"source_edit_link": "", "top_of_page_buttons": []}
html_show_sourcelink = False
