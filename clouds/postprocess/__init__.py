"""From probabilities to clean masks and run-length text, in vectorised TensorFlow.

Modules, in reading order: `components` (connected components of packed masks), `ops`
(the steps), `functional` (with explicit numbers), `apply` (with a `Rule`), `blockwise`
(the same for scenes that are too large for memory).
"""

from clouds.postprocess.apply import apply
from clouds.postprocess.functional import clean, to_rle

__all__ = ["apply", "clean", "to_rle"]
