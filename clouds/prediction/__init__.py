"""Masks of images, written as submissions, pictures and polygons.

Modules, in reading order: `predict` (the command), `inputs` (images or records),
`outputs` (the files of a prediction), `writers` (submission, GeoJSON, COCO, PNG),
`geojson` and `polygons`, `placing` (where images lie), `maps` (what is kept for gridded
files) and `gridded` (these files), `tiling` (large scenes), `journal` and `resume`
(finished images),
`submission_check` (the command that validates a submission).
"""
