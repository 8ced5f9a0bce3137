"""Figures, one function each; the same panels go to PNG files and into web pages.

Modules, in reading order: `common` (style, saving), `false_colour` (images of any
bands), `overlays` (masks on images), `training` (history), `statistics` (of
annotations), `evaluation`, `tuning`, `climatology` (maps of frequencies).
"""
