"""A run as a SavedModel for TensorFlow Serving.

Modules, in reading order: `export` (the command), `signatures` (the graph),
`model_card`, `warmup` (requests that a server runs when it starts).
"""
