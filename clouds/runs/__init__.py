"""The folder of a training run, and what is loaded from it.

Modules, in reading order: `run_folder` (settings, weights, rule), `run_facts` (facts
and checksums), `checkpoints` (state to resume from), `network` (one or several runs as
a Keras model), `exports` (exported models).
"""
