"""Figures, one function each; the same panels go to PNG files and into web pages.

Modules, in reading order: `common` (style, saving), `overlays` (masks on images),
`training` (history), `statistics` (of annotations), `evaluation`, `tuning`.
"""
