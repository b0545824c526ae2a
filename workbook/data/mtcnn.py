"""Finding faces: the three networks of MTCNN (Zhang et al., 2016); each one checks the boxes of the one before.

Weights, thresholds, overlaps, rounding and boxes are facenet-pytorch's. Two things are left out of its `MTCNN.detect`:
it averages all pixels again for every face size and every candidate, where here the columns of a frame are summed once;
and it looks for the smallest faces also in frames with a large one, which is nearly all of the remaining work.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from facenet_pytorch.models.utils.detect_face import batched_nms_numpy, bbreg, generateBoundingBox, rerec
from torchvision.ops import nms

from workbook.data.faces import OVERLAP, overlaps

FACTOR = 0.709  # from one size of faces to the next smaller one
CELL = 12  # pixels: the first network scores cells of 12 x 12
CERTAIN = 0.6, 0.7, 0.7  # lowest score for a face, in [0, 1], by network

# MTCNN looks for faces at sizes 20, 28.2, 39.8, ... pixels, each 1/0.709 of the one before, up to the frame's height.
# Leaving out the smallest sizes leaves the others where they are: a large face then gets the very same box.
SMALLEST = 20.0  # pixels
LARGE = 1 / 4  # of the frame's shorter side: the face of somebody who speaks to the camera
BESIDE = 1 / 8  # of it: the smallest face beside a large one, where all faces are searched
SURE = 0.95  # confidence in a large face from which on no smaller one is searched

Faces = tuple[np.ndarray, np.ndarray]  # boxes (k, 4) as left, top, right, bottom in pixels; their scores (k,) in [0, 1]


class Sums:
    """The column sums of a frame (H, W, 3) uint8, from which `part` reads any part in any size."""

    def __init__(self, frame: np.ndarray):
        self.height, self.width = frame.shape[:2]
        # Sums of the pixels above each row. 16 bits may overflow, but the difference of two rows is still right if at
        # most 257 rows lie between them; at most a 13th of the height does.
        dtype = np.uint16 if self.height < 13 * 250 else np.uint32
        self.above = np.zeros((self.height + 1, 3, self.width), dtype)
        for row in range(self.height):  # in the order of memory: several times as fast as np.cumsum
            np.add(self.above[row], frame[row].T, out=self.above[row + 1])

    def part(self, left: int, top: int, right: int, bottom: int, height: int, width: int) -> np.ndarray:
        """The pixels from left to right and top to bottom, resized to (height, width, 3) float32.

        Each value is the mean over the pixels that it covers: `interpolate(mode="area")` in PyTorch.
        """
        first, last = _windows(top, bottom, height)
        strips = self.above[last, :, left:right] - self.above[first, :, left:right]  # (height, 3, right - left)
        before = np.zeros((height, 3, right - left + 1), np.int32)  # sums of the columns to the left
        np.cumsum(strips, axis=2, dtype=np.int32, out=before[..., 1:])
        begin, end = _windows(0, right - left, width)
        sums = (before[..., end] - before[..., begin]).transpose(0, 2, 1)  # (height, width, 3)
        return (sums / np.outer(last - first, end - begin)[..., None]).astype(np.float32)


def _windows(first: int, last: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The begin and end of `count` equal parts of first:last, rounded outwards to whole pixels."""
    steps = np.arange(count + 1) * (last - first)
    return first + steps[:-1] // count, first - (-steps[1:] // count)


def smallest_size(frame: Sums, share: float) -> float:
    """The largest of MTCNN's sizes of faces, in pixels, that is at most this share of the frame's shorter side."""
    side = min(frame.height, frame.width)
    steps = np.log(max(side * share / SMALLEST, 1.0)) / -np.log(FACTOR)
    return float(SMALLEST / FACTOR ** np.floor(steps))


class FaceDetector:
    """MTCNN's three networks with their weights."""

    def __init__(self):
        self.propose, self.refine, self.decide = (
            net().eval().to(memory_format=torch.channels_last) for net in (PNet, RNet, ONet)
        )

    def detect(self, frames: np.ndarray | Sequence[np.ndarray]) -> Faces:
        """The largest face of each frame: boxes (n, 4) float32 as left, top, right, bottom in pixels, and how sure
        the detector is, (n,) in [0, 1]. A frame without a face has a row of NaN and a confidence of 0.

        frames : (n, H, W, 3) uint8 RGB, or as many of (H, W, 3)
        """
        boxes, confidence = np.full((len(frames), 4), np.nan, np.float32), np.zeros(len(frames), np.float32)
        for i, (faces, scores) in enumerate(self._find([Sums(frame) for frame in frames])):
            if len(faces):
                boxes[i], confidence[i] = faces[0], scores[0]
        return boxes, confidence

    def detect_all(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """All faces of each frame: boxes (k, 4) as in `detect`, first the one that `detect` returns.

        Beside a large face, the smallest others have BESIDE of the frame's shorter side.
        """
        sums = [Sums(frame) for frame in frames]
        smaller = self._search(sums, smallest_size(sums[0], BESIDE))
        faces = []
        for (boxes, _), (others, _) in zip(self._find(sums), smaller, strict=True):
            more = [box for box in others if not (overlaps(box, boxes) > OVERLAP).any()]
            faces.append(np.array([*boxes, *more], np.float32).reshape(-1, 4))
        return faces

    @torch.inference_mode()
    def confidence(self, faces: Sequence[np.ndarray]) -> np.ndarray:
        """How sure the last network is, (n,) in [0, 1], that each of these pictures (S, S, 3) uint8 is a face."""
        parts = [Sums(face).part(0, 0, face.shape[1], face.shape[0], 48, 48) for face in faces]
        return _apply(self.decide, parts)[-1][:, 1].numpy()

    def _find(self, frames: list[Sums]) -> Iterator[Faces]:
        """The faces of each frame, the largest first: of all sizes, unless the search for large faces succeeds.

        A large face has at least the next size up: at the edge of a search, boxes differ.
        """
        if not frames:
            return
        smallest = smallest_size(frames[0], LARGE)
        for frame, (faces, scores) in zip(frames, self._search(frames, smallest), strict=True):
            is_large = len(faces) and scores[0] > SURE and min(faces[0, 2:] - faces[0, :2]) > smallest / FACTOR
            yield (faces, scores) if is_large or smallest == SMALLEST else self._search([frame], SMALLEST)[0]

    @torch.inference_mode()
    def _search(self, frames: Sequence[Sums], smallest: float) -> list[Faces]:
        """The faces of each frame that lie in it at least in part, the largest first.

        frames : all of one size, processed together        smallest : size of the smallest faces to search, in pixels
        """
        proposed, refined, faces = self._proposals(frames, smallest), [], []
        for boxes, scores, moves in self._score(frames, proposed, self.refine, 24, CERTAIN[1]):
            kept = nms(boxes, scores, 0.7)
            refined.append(bbreg(boxes[kept], moves[kept]))
        size = torch.tensor([frames[0].width, frames[0].height])
        for boxes, scores, moves in self._score(frames, refined, self.decide, 48, CERTAIN[2]):
            boxes = bbreg(boxes, moves)
            kept = batched_nms_numpy(boxes, scores, torch.zeros(len(boxes)), 0.7, "Min")
            edges = boxes[kept].round()
            kept = kept[(edges[:, 2:].minimum(size) > edges[:, :2].clamp(min=0)).all(dim=1)]
            kept = kept[(boxes[kept, 2:] - boxes[kept, :2]).prod(dim=1).argsort(descending=True)]
            faces.append((boxes[kept].numpy(), scores[kept].numpy()))
        return faces

    def _proposals(self, frames: Sequence[Sums], smallest: float) -> list[torch.Tensor]:
        """The boxes (n, 4) in each frame where the first network sees a face of any size."""
        height, width, scale = frames[0].height, frames[0].width, CELL / smallest
        proposals = [[torch.zeros(0, 9)] for _ in frames]  # by size (n, 9): box, score, moves of its edges
        while min(height, width) * scale >= CELL:
            size = int(height * scale + 1), int(width * scale + 1)
            moves, scores = _apply(self.propose, [frame.part(0, 0, width, height, *size) for frame in frames])
            rows, owners = generateBoundingBox(moves, scores[:, 1], scale, CERTAIN[0])
            for i, of_frame in enumerate(proposals):
                own = rows[owners == i]
                of_frame.append(own[nms(own[:, :4], own[:, 4], 0.5)])
            scale *= FACTOR
        merged = []
        for rows in map(torch.cat, proposals):
            boxes, _, moves = rows[nms(rows[:, :4], rows[:, 4], 0.7)].split([4, 1, 4], dim=1)
            merged.append(boxes + moves * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2))
        return merged

    def _score(
        self, frames: Sequence[Sums], boxes: list[torch.Tensor], net, size: int, certain: float
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """For each frame: the squared boxes (n, 4) with a face, by a network for `size` pixels, scores and moves."""
        squares, parts = [], []
        for frame, square in zip(frames, map(rerec, boxes), strict=True):
            edges = square.int()
            edges[:, :2] = edges[:, :2].clamp(min=1) - 1
            edges[:, 2:] = edges[:, 2:].minimum(torch.tensor([frame.width, frame.height]))
            inside = (edges[:, 2:] > edges[:, :2]).all(dim=1)  # True = some of the box lies in the frame
            squares.append(square[inside])
            parts += [frame.part(*box, size, size) for box in edges[inside].tolist()]
        moves, *_, scores = _apply(net, parts) if parts else (torch.zeros(0, 4), torch.zeros(0, 2))
        counts = list(map(len, squares))
        for square, score, move in zip(squares, scores[:, 1].split(counts), moves.split(counts), strict=True):
            kept = score > certain
            yield square[kept], score[kept], move[kept]


def _apply(net, images: list[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """The outputs of a network for n images (H, W, 3) in [0, 255]."""
    return net(torch.from_numpy((np.stack(images) - 127.5) / 128).permute(0, 3, 1, 2))
