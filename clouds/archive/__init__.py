"""Predicts archives of images with an exported model, on Apache Beam.

In reading order: `inference` (a chunk of images on a runner), `results` (results of
chunks, and the files made of them), `predict_archive` (the command).
"""
