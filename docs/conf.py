"""How Sphinx builds these pages: `make docs`. Nothing is fetched, and a warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "extensions")]

project = "skipit"
author = "The skipit authors"
copyright = "The skipit authors"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "equations",
    "api_pages",
    "command_help",
]
exclude_patterns = ["_build", "_static", "_templates", "extensions", "contributing/templates/README.md"]
templates_path = ["_templates"]
nitpicky = True
# Defaults that are theorem objects print as <bounds.name(parameters)>, which Sphinx takes for a class.
nitpick_ignore_regex = [("py:class", r"bounds\.\w+\(.*")]
# The tables of the API pages name objects in full, since a short `trace` would be the module of the standard library.
suppress_warnings = ["autosummary.import_cycle"]

# Markdown that a code host renders too; docs/extensions/equations.py reads its mathematics.
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {"svg": {"fontCache": "global", "scale": 0.93}}

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "skipit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_sidebars = {"index": []}
html_theme_options = {
    "navigation_with_keys": False,
    "navbar_align": "left",
    "show_prev_next": True,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d\d_",
    "reset_argv": "gallery_arguments.arguments",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "capture_repr": (),
    "backreferences_dir": None,
    "min_reported_time": 3600,
    "abort_on_example_error": False,
}
