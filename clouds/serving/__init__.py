"""An HTTP server of an exported model, with the REST API of TensorFlow Serving.

Modules, in reading order: `serve` (the command), `app` (routes), `protocol` (requests
and responses), `model_store` (versions of a model), `batching`, `limits`,
`monitoring` (Prometheus), `web_page`.
"""
