"""Large scenes, predicted in overlapping tiles.

Modules, in reading order: `tiled` (a scene from file to entry), `plan` (the tiles of a
scene), `geometry` (their positions and weights), `scenes` (windows of image files),
`mosaic` (the blended probabilities, on disk).
"""
