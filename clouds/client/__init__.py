"""A client of bin/serve and of TensorFlow Serving.

Modules, in reading order: `request` (the command), `images` (files to what a model
takes), `client` (REST and gRPC), `http` (responses and downloads), `retry`.
"""
