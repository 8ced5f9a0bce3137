"""The notebook's way from an image file to text, as it does it (OpenCV, NumPy).

For either environment, with or without `clouds`.
"""

import cv2
import numpy as np

NETWORK, SUBMISSION = (320, 480), (350, 525)
THRESHOLD, MIN_SIZE = 0.5, 10000


def read(contents, size=NETWORK):
    """Decodes a file: float32[*size, 3] of 0..1."""
    image = cv2.imdecode(np.frombuffer(contents, np.uint8), cv2.IMREAD_COLOR)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return cv2.resize(image.astype(np.float32) / 255.0, size[::-1])


def clean(probability):
    """Its post_process."""
    mask = cv2.threshold(probability, THRESHOLD, 1, cv2.THRESH_BINARY)[1]
    count, component = cv2.connectedComponents(mask.astype(np.uint8))
    predictions = np.zeros(probability.shape, np.float32)
    for number in range(1, count):
        pixels = component == number
        if pixels.sum() > MIN_SIZE:
            predictions[pixels] = 1
    return predictions


def encode(mask, size=SUBMISSION):
    """Its build_rles and mask2rle."""
    mask = cv2.resize(mask.astype(np.float32), size[::-1]).astype(np.int64)
    pixels = np.concatenate([[0], mask.T.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(number) for number in runs)


def texts(batch, size=SUBMISSION):
    """A text for each image and label, one after the other."""
    found = []
    for image in batch:
        masks = image.astype("float32")
        for label in range(4):
            masks[..., label] = clean(masks[..., label])
        found.append([encode(masks[..., label], size) for label in range(4)])
    return found
