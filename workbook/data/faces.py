"""Finding the face in each frame of a clip and cutting it out."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from workbook.data.mtcnn import FACTOR, Cascade, Sums

# MTCNN looks for faces at sizes 20, 28.2, 39.8, ... pixels, each 1/0.709 of the one before, up to the frame's height.
# Leaving out the smallest sizes leaves the others where they are: a large face then gets the very same box, and nearly
# all of the work is in the smallest sizes. So they are looked at only where no face is clearly larger.
SMALLEST = 20.0  # pixels
LARGE = 1 / 4  # of the frame's shorter side: the face of somebody who speaks to the camera
BESIDE = 1 / 8  # of it: the smallest face beside a large one, where all faces are searched
OVERLAP = 0.3  # least intersection over union of two boxes that show the same face
ABSENCE = 1.0  # seconds; a face that is away for longer is lost, and another one is followed
SURE = 0.95  # confidence in a large face from which on no smaller one is searched


def large_face(side: int, share: float = LARGE) -> float:
    """The size of face to begin with in frames with this shorter side: one of MTCNN's own, in pixels.

    share : of the shorter side; the size is that much or the next smaller one
    """
    steps = np.log(max(side * share / SMALLEST, 1.0)) / -np.log(FACTOR)
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
        for i, (faces, scores) in enumerate(self._find([Sums(frame) for frame in frames])):
            if len(faces) and _area(_clip_box(faces[0], *frames[i].shape[:2])):
                boxes[i], confidence[i] = faces[0], scores[0]
        return boxes, confidence

    def detect_all(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """All faces of each frame: boxes (k, 4) as in `detect`, first the one that `detect` returns.

        Beside a large face, the smallest others have BESIDE of the frame's shorter side.
        """
        sums = [Sums(frame) for frame in frames]
        smaller = self.cascade.find(sums, large_face(min(sums[0].height, sums[0].width), BESIDE))
        faces = []
        for (boxes, _), (others, _), frame in zip(self._find(sums), smaller, frames, strict=True):
            more = [box for box in others if not (overlaps(box, boxes) > OVERLAP).any()]
            inside = [box for box in (*boxes, *more) if _area(_clip_box(box, *frame.shape[:2]))]
            faces.append(np.array(inside, np.float32).reshape(-1, 4))
        return faces

    def _find(self, frames: list[Sums]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The faces of each frame, the largest first: of all sizes, unless the search for large faces succeeds.

        A large face has at least the next size up: at the edge of a search, boxes differ.
        """
        if not frames:
            return
        smallest = large_face(min(frames[0].height, frames[0].width))
        for frame, (faces, scores) in zip(frames, self.cascade.find(frames, smallest), strict=True):
            is_large = len(faces) and scores[0] > SURE and min(faces[0, 2:] - faces[0, :2]) > smallest / FACTOR
            yield (faces, scores) if is_large or smallest == SMALLEST else self.cascade.find([frame], SMALLEST)[0]


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
    assert len(known), "no frame has a face"
    nearest = np.abs(np.arange(len(boxes))[:, None] - known).argmin(axis=1)  # (n,)
    return boxes[known[nearest]]


def crop_face(frame: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The face cut out of a frame and stretched to a square, (size, size, 3) uint8.

    As in the original code, the box is not made square first. Downscaling averages over the pixels it skips.

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
