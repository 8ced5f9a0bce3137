"""Pages to look at: of one run, of several, and of the labels of a csv.

Modules, in reading order: `report`, `compare` and `describe` (the commands), `gallery`,
`html`, `charts` and `series`.
"""
