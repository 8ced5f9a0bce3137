"""From image files to pixels.

Modules, in reading order: `image_files` (finding and reading), `image_bytes` (files to
bytes), `image_headers` (size, alpha, orientation), `formats` (conversion to what
TensorFlow decodes rightly), `graph_formats` (decoding in a graph), `preprocessing`
(bytes to pixels to the network's input), `native` (other bands than 8-bit RGB),
`reading` (files to images as training got them).
"""
