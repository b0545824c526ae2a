"""Finding the face in each frame of a clip and cutting it out."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from avlib.data.clips.mtcnn import FACTOR, Cascade, Sums

# MTCNN looks for faces at sizes 20, 28.2, 39.8, ... pixels, each 1/0.709 of the one before, up to the frame's height.
# Leaving out the smallest sizes leaves the others where they are: a large face then gets the very same box, and nearly
# all of the work is in the smallest sizes. So they are looked at only where no face is clearly larger.
SMALLEST = 20.0  # pixels
LARGE = 1 / 4  # of the frame's shorter side: the face of somebody who speaks to the camera
SURE = 0.95  # of a large face, so that nothing smaller is looked for


def large_face(side: int) -> float:
    """The size of face to begin with in frames with this shorter side: one of MTCNN's own, in pixels."""
    steps = np.log(max(side * LARGE / SMALLEST, 1.0)) / -np.log(FACTOR)
    return float(SMALLEST / FACTOR ** np.floor(steps))


class FaceDetector:
    """MTCNN with its weights loaded once."""

    def __init__(self, device: str = "cpu"):
        self.cascade = Cascade(device)

    def detect(self, frames: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The largest face of each frame: boxes (n, 4) float32 as left, top, right, bottom in pixels, and how sure
        the detector is, (n,) in [0, 1]. A frame without a face has a row of NaN and a confidence of 0.

        frames : (n, H, W, 3) uint8 RGB, or as many of (H, W, 3)
        """
        boxes, confidence = np.full((len(frames), 4), np.nan, np.float32), np.zeros(len(frames), np.float32)
        for i, (found, scores) in enumerate(self._find([Sums(frame) for frame in frames])):
            if len(found) and _area(_clip_box(found[0], *frames[i].shape[:2])):
                boxes[i], confidence[i] = found[0], scores[0]
        return boxes, confidence

    def _find(self, frames: list[Sums]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The faces of each frame, the largest first: of all sizes, unless a look at large ones shows one.

        That one is the next size up at least: faces at the edge of what is looked for get other boxes.
        """
        if not frames:
            return
        smallest = large_face(min(frames[0].height, frames[0].width))
        for frame, (found, scores) in zip(frames, self.cascade.find(frames, smallest), strict=True):
            large = len(found) and scores[0] > SURE and min(found[0, 2:] - found[0, :2]) > smallest / FACTOR
            yield (found, scores) if large or smallest == SMALLEST else self.cascade.find([frame], SMALLEST)[0]


def fill_boxes(boxes: np.ndarray) -> np.ndarray:
    """The boxes (n, 4), where each row of NaN is replaced by the nearest row in time that is not (of two the earlier).

    The original code takes the box of the frame before, which may belong to the clip before (extract_faces.py).
    """
    known = np.flatnonzero(~np.isnan(boxes[:, 0]))
    assert len(known), "no frame has a face, so there is no box to take"
    nearest = np.abs(np.arange(len(boxes))[:, None] - known).argmin(axis=1)  # (n,)
    return boxes[known[nearest]]


def crop_faces(frames: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """The faces cut out of their frames (n, H, W, 3) as in `crop_face`, one box each: (n, size, size, 3) uint8."""
    return np.stack([crop_face(frame, box, size) for frame, box in zip(frames, boxes, strict=True)])


def crop_face(frame: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The face cut out of a frame and stretched to a square, (size, size, 3) uint8.

    As the authors do, the box is taken as it is, not made square. Downscaling averages over the pixels it skips.

    frame : (H, W, 3) uint8        box : left, top, right, bottom in pixels, may reach over the edge
    """
    left, top, right, bottom = _clip_box(box, *frame.shape[:2])
    image = Image.fromarray(frame[top:bottom, left:right])
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def _clip_box(box: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(float(edge)) for edge in box)
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _area(box: tuple[int, int, int, int]) -> int:
    left, top, right, bottom = box
    return max(right - left, 0) * max(bottom - top, 0)
