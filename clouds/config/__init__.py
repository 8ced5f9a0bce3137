"""The settings of each command: frozen dataclasses, the single source of its flags.

A field is a flag, a key of `--config`, and a line of `--help`. Sizes are
(height, width) in pixels.

Modules, in reading order: `fields` (types of values, reading them), `checks`, `resolve`
(flags, file and defaults become settings), then the settings by subject: `data`,
`training`, `masks` (from probabilities), `prediction`, `presentation`, `serving`, and
`rule` (post-processing).
"""
