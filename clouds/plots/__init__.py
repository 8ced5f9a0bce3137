"""Figures, one function each.

Modules, in reading order: `common` (colours, saving), `evaluation`.
"""
