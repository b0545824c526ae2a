"""Finding the face in each frame of a clip (MTCNN of facenet-pytorch) and cutting it out."""

import numpy as np
from PIL import Image

# MTCNN looks for faces at sizes 20, 28.2, 39.8, ... pixels, each 1/0.709 of the one before, up to the frame's height.
# Leaving out the smallest sizes leaves the others where they are: a large face then gets the very same box, and since
# nearly all of the work is in the smallest sizes, five times as fast at 1280x720.
SMALLEST = 20.0  # pixels
FACTOR = 0.709
FACE_SHARE = 1 / 6  # faces smaller than about this part of the frame's height are not looked for


def smallest_face(height: int) -> float:
    """The smallest face to look for in frames of this height: one of MTCNN's own sizes, in pixels."""
    steps = np.log(max(height * FACE_SHARE / SMALLEST, 1.0)) / -np.log(FACTOR)
    return float(SMALLEST / FACTOR ** np.floor(steps))


class FaceDetector:
    """MTCNN with its weights loaded once; one call for all frames of a clip."""

    def __init__(self, device: str = "cpu"):
        from facenet_pytorch import MTCNN  # heavy: brings torch and torchvision

        self.mtcnn = MTCNN(factor=FACTOR, device=device)

    def detect(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The largest face of each frame: boxes (n, 4) float32 as left, top, right, bottom in pixels, and how sure
        the detector is, (n,) in [0, 1]. A frame without a face has a row of NaN and a confidence of 0.

        frames : (n, H, W, 3) uint8 RGB.
        """
        count, height, width = frames.shape[:3]
        boxes, confidence = np.full((count, 4), np.nan, np.float32), np.zeros(count, np.float32)
        if min(height, width) <= SMALLEST:
            return boxes, confidence
        self.mtcnn.min_face_size = smallest_face(min(height, width))
        found, probabilities = self.mtcnn.detect(frames)  # each frame's faces, the largest first; None where none
        for i, (box, probability) in enumerate(zip(found, probabilities, strict=True)):
            if box is not None and _area(_clip_box(box[0], height, width)):
                boxes[i], confidence[i] = box[0], probability[0]
        return boxes, confidence


def fill_boxes(boxes: np.ndarray) -> np.ndarray:
    """The boxes (n, 4), where each row of NaN is replaced by the nearest row in time that is not (of two the earlier).

    The original code takes the box of the frame before, which may belong to the clip before (extract_faces.py).
    """
    known = np.flatnonzero(~np.isnan(boxes[:, 0]))
    assert len(known), "no frame has a face, so there is no box to take"
    nearest = np.abs(np.arange(len(boxes))[:, None] - known).argmin(axis=1)  # (n,)
    return boxes[known[nearest]]


def crop_faces(frames: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """The faces cut out of their frames and stretched to squares, (n, size, size, 3) uint8.

    As the authors do, the box is taken as it is, not made square. Downscaling averages over the pixels it skips.

    frames : (n, H, W, 3) uint8        boxes : (n, 4) left, top, right, bottom in pixels, may reach over the edge
    """
    height, width = frames.shape[1:3]
    faces = np.empty((len(frames), size, size, 3), np.uint8)
    for face, frame, box in zip(faces, frames, boxes, strict=True):
        left, top, right, bottom = _clip_box(box, height, width)
        image = Image.fromarray(frame[top:bottom, left:right])
        face[:] = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return faces


def _clip_box(box: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(float(edge)) for edge in box)
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _area(box: tuple[int, int, int, int]) -> int:
    left, top, right, bottom = box
    return max(right - left, 0) * max(bottom - top, 0)
