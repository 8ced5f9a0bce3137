"""From probabilities to clean masks and run-length text, in vectorised TensorFlow.

Modules, in reading order: `components` (connected components of packed masks), `ops`
(thresholds, minimum areas, text), `apply` (a rule), `functional` (the same without a
rule).
"""
