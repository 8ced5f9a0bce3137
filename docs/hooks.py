"""What MkDocs does while it builds these pages."""

import os
import re

from clouds.cli import main, parser

_COMMANDS = "{{ commands }}"


def on_page_markdown(markdown: str, **_) -> str:
    """Puts the help of each command where a page asks for it."""
    return markdown.replace(_COMMANDS, _help()) if _COMMANDS in markdown else markdown


def on_page_content(html: str, **_) -> str:
    """Marks flags, which the style sheet keeps from being parted at their hyphens."""
    return re.sub(r"(?<=[\s>])--[a-z-]+", r'<span class="flag">\g<0></span>', html)


def _help() -> str:
    # As many as fit beside the two tables of contents.
    os.environ["COLUMNS"] = "80"
    _, parsers = parser.build({name: row[0] for name, row in main.COMMANDS.items()})
    sections = (
        f"## {name}\n\n```text\n{command.format_help()}```"
        for name, command in parsers.items()
    )
    return "\n\n".join(sections)
