"""What MkDocs does while it builds these pages."""

import os

from clouds import cli, flags

_COMMANDS = "{{ commands }}"


def on_page_markdown(markdown: str, **_) -> str:
    """Puts the help of each command where a page asks for it."""
    return markdown.replace(_COMMANDS, _help()) if _COMMANDS in markdown else markdown


def _help() -> str:
    # As many as fit beside the two tables of contents.
    os.environ["COLUMNS"] = "80"
    _, each = flags.parsers({name: row[0] for name, row in cli.COMMANDS.items()})
    sections = (
        f"## {name}\n\n```text\n{parser.format_help()}```"
        for name, parser in each.items()
    )
    return "\n\n".join(sections)
