"""Web pages about one run or several, and statistics of a csv.

Modules, in reading order: `report`, `compare` and `describe` (the commands), `areas`
(of masks), `gallery` (images), `sources` (files that pages show), `html` (templates).
"""
