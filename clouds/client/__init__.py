"""A client of bin/serve and of TensorFlow Serving.

Modules, in reading order: `request` (the command), `images` (files to what a model
takes), `client` (REST and gRPC), `answers` (their check), `http` (responses and
downloads), `retry`.
"""
