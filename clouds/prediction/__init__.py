"""Masks of images, written as submissions, pictures and polygons.

Modules, in reading order: `predict` (the command), `inputs` (images or records),
`outputs` (every file written), `geojson` and `polygons`, `journal` and `resume` (what
was done before), `submission_check` (the command that validates a submission).
"""
