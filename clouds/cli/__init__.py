"""The command line.

In reading order: `main` (commands, exit codes), `parser` (flags from settings).
"""
