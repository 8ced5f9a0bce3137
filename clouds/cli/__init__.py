"""The command line.

Modules, in reading order: `main` (commands, exit codes), `parser` (flags from settings).
"""
