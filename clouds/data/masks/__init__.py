"""Masks as other programs write them, each as rows of an image, a label and its runs.

Modules: `csv_rows` (csv files of run-length codes, in several forms), `coco` (COCO
annotations), `png_masks` (a folder with a PNG per image and label), `box_rows` and
`boxes` (boxes that people drew), `votes` (masks of several people's boxes).
"""
