"""The settings of each command: frozen, checked, and the source of its flags.

`clouds.cli.main` makes a flag of every field, of which `fields` says the help text. A
class lies in the file of its subject, and is named here. Sizes are (height, width)
in pixels.
"""

from clouds.config.data import Description, Records, Sample
from clouds.config.fields import IMAGES, IMAGES_ASKED, Box, Size
from clouds.config.prediction import Evaluation, Export, Prediction, SubmissionCheck
from clouds.config.presentation import Comparison, Report
from clouds.config.resolve import FILE, as_yaml, from_flags, gather, make, of_run
from clouds.config.serving import Request, Serving
from clouds.config.training import Training

__all__ = [
    "FILE",
    "IMAGES",
    "IMAGES_ASKED",
    "Box",
    "Comparison",
    "Description",
    "Evaluation",
    "Export",
    "Prediction",
    "Records",
    "Report",
    "Request",
    "Sample",
    "Serving",
    "Size",
    "SubmissionCheck",
    "Training",
    "as_yaml",
    "from_flags",
    "gather",
    "make",
    "of_run",
]
