"""``command-help``: the `--help` texts of a command and of all its subcommands, as they are today."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


@cache
def help_text(*command: str) -> str:
    """What `python -m COMMAND --help` prints."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-m", *command, "--help"]
    return subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment).stdout


def subcommands(text: str) -> list[str]:
    """The subcommands that a help text lists."""
    match = re.search(r"\{([a-z,-]+)\}", text)
    return match[1].split(",") if match else []


class CommandHelp(SphinxDirective):
    """``.. command-help:: vlm``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A literal block for the command, and a heading and a block for each subcommand."""
        package = self.arguments[0]
        text = help_text(package)
        result: list[nodes.Node] = [nodes.literal_block(text, text, language="none")]
        for name in subcommands(text):
            part = help_text(package, name)
            result.append(nodes.rubric("", f"python -m {package} {name}"))
            result.append(nodes.literal_block(part, part, language="none"))
        return result


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("command-help", CommandHelp)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
