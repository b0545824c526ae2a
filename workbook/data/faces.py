"""The boxes of faces: following one face through a film, and cutting it out. `workbook.data.mtcnn` finds them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

OVERLAP = 0.3  # least intersection over union of two boxes that show the same face
ABSENCE = 1.0  # seconds; a face that is away for longer is lost, and another one is followed


class EdgeToEdge:
    """Stands in for a detector where every frame is a face from edge to edge, with a confidence of NaN."""

    def detect(self, frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate(self.detect_all(frames)), np.full(len(frames), np.nan, np.float32)

    def detect_all(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.array([[0, 0, frame.shape[1], frame.shape[0]]], np.float32) for frame in frames]


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The intersection over union of a box with each of boxes (k, 4): (k,) in [0, 1]."""
    corner = np.maximum(boxes[:, :2], box[:2])
    shared = (np.minimum(boxes[:, 2:], box[2:]) - corner).clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / (areas + (box[2:] - box[:2]).prod() - shared)


def follow(faces: Sequence[np.ndarray], times: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """One face through time: its boxes (n, 4), NaN where it is absent, and the times at which it changes to another.

    It begins with the largest face. In each frame it is the face that overlaps most with its last box. Where none does,
    within ABSENCE seconds or in the very next frame, the largest face takes its place.

    faces : the boxes (k, 4) of each frame, the largest first        times : (n,) ascending, in seconds
    """
    track, changes = np.full((len(faces), 4), np.nan, np.float32), []
    last, last_frame, last_time = None, -2, -np.inf
    for i, boxes in enumerate(faces):
        if not len(boxes):
            continue
        is_recent = i == last_frame + 1 or times[i] - last_time <= ABSENCE  # frames may lie farther apart than ABSENCE
        box = _best_overlap(boxes, last) if is_recent else None
        if box is None:
            soon = range(i + 1, int(np.searchsorted(times, last_time + ABSENCE, "right")))
            if any(_best_overlap(faces[later], last) is not None for later in soon):
                continue
            box = boxes[0]
            changes += [] if last is None else [float(times[i])]
        track[i] = last = box
        last_frame, last_time = i, times[i]
    return track, changes


def _best_overlap(faces: np.ndarray, last: np.ndarray) -> np.ndarray | None:
    """The face that overlaps most with the last box; None where none reaches OVERLAP."""
    shares = overlaps(last, faces)
    return faces[shares.argmax()] if len(faces) and shares.max() > OVERLAP else None


def fill_boxes(boxes: np.ndarray) -> np.ndarray:
    """The boxes (n, 4), each row of NaN replaced by the nearest known box in time (of two the earlier).

    The original code takes the box of the frame before, which may belong to the clip before (extract_faces.py).
    """
    known = np.flatnonzero(~np.isnan(boxes[:, 0]))
    nearest = np.abs(np.arange(len(boxes))[:, None] - known).argmin(axis=1)  # (n,)
    return boxes[known[nearest]]


def crop_face(frame: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The face cut out of a frame and stretched to a square, (size, size, 3) uint8.

    As in the original code, the box is not made square first. Downscaling averages over the pixels it skips.

    frame : (H, W, 3) uint8        box : left, top, right, bottom in pixels, may reach over the edge
    """
    left, top, right, bottom = (max(round(float(edge)), 0) for edge in box)
    image = Image.fromarray(frame[top:bottom, left:right])
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
