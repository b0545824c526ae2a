"""Faces in a frame: the three networks of MTCNN (Zhang et al., 2016); each one checks the boxes of the one before.

Weights, thresholds, overlaps, rounding and boxes are those of facenet-pytorch's `MTCNN.detect`. Only the shrinking of
frames differs: facenet-pytorch averages all pixels again for every face size and every candidate, which takes nearly
all of its time. Here the columns of a frame are summed once, and any part at any size is computed from these sums.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

FACTOR = 0.709  # from one size of faces to the next smaller one
CELL, STRIDE = 12, 2  # pixels: the first network scores cells of 12 x 12, one every 2
CERTAIN = 0.6, 0.7, 0.7  # lowest score for a face, in [0, 1], by network


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


class Cascade:
    """MTCNN's three networks with their weights."""

    def __init__(self, device: str = "cpu"):
        from facenet_pytorch.models.mtcnn import ONet, PNet, RNet  # slow: imports torchvision

        self.device = device
        self.propose, self.refine, self.decide = (
            net().eval().to(device, memory_format=torch.channels_last) for net in (PNet, RNet, ONet)
        )

    @torch.inference_mode()
    def find(self, frames: Sequence[Sums], smallest: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """The faces of each frame, the largest first: boxes (n, 4) and their scores (n,) in [0, 1].

        frames : all of one size, processed together
        boxes : left, top, right, bottom in pixels
        smallest : size of the smallest faces to search, in pixels
        """
        proposed = self._proposals(frames, smallest)
        refined = [
            _move_edges(boxes[kept], moves[kept])
            for boxes, scores, moves in self._score(frames, proposed, self.refine, 24, CERTAIN[1])
            for kept in [_suppress_overlaps(boxes, scores, 0.7)]
        ]
        faces = []
        for boxes, scores, moves in self._score(frames, refined, self.decide, 48, CERTAIN[2]):
            boxes = _move_edges(boxes, moves)
            kept = _suppress_contained(boxes, scores, 0.7)
            kept = kept[(boxes[kept, 2:] - boxes[kept, :2]).prod(dim=1).argsort(descending=True)]
            faces.append((boxes[kept].numpy(), scores[kept].numpy()))
        return faces

    @torch.inference_mode()
    def confidence(self, faces: Sequence[np.ndarray]) -> np.ndarray:
        """How sure the last network is, (n,) in [0, 1], that each of these pictures (S, S, 3) uint8 is a face."""
        parts = [Sums(face).part(0, 0, face.shape[1], face.shape[0], 48, 48) for face in faces]
        return self._apply(self.decide, np.stack(parts))[-1][:, 1].numpy()

    def _proposals(self, frames: Sequence[Sums], smallest: float) -> list[torch.Tensor]:
        """The boxes (n, 4) in each frame where the first network sees a face of any size."""
        height, width, scale = frames[0].height, frames[0].width, CELL / smallest
        proposals = [[(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 4))] for _ in frames]
        while min(height, width) * scale >= CELL:
            size = int(height * scale + 1), int(width * scale + 1)
            images = np.stack([frame.part(0, 0, width, height, *size) for frame in frames])
            moves, scores = self._apply(self.propose, images)  # (frames, 4, h, w), (frames, 2, h, w)
            for move, score, at_all_sizes in zip(moves, scores[:, 1], proposals, strict=True):
                row, column = torch.nonzero(score >= CERTAIN[0], as_tuple=True)
                corner = STRIDE * torch.stack([column, row, column, row], dim=1).float() + 1
                box = ((corner + torch.tensor([0, 0, CELL - 1, CELL - 1])) / scale).floor()
                kept = _suppress_overlaps(box, score[row, column], 0.5)
                at_all_sizes.append((box[kept], score[row, column][kept], move[:, row, column].T[kept]))
            scale *= FACTOR
        merged = []
        for at_all_sizes in proposals:
            boxes, scores, moves = map(torch.cat, zip(*at_all_sizes, strict=True))
            kept = _suppress_overlaps(boxes, scores, 0.7)
            merged.append(_move_edges(boxes[kept], moves[kept], pixel=0))
        return merged

    def _score(
        self, frames: Sequence[Sums], boxes: list[torch.Tensor], net, size: int, certain: float
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """For each frame: the squared boxes (n, 4) with a face, by a network for `size` pixels, scores and moves."""
        squares, parts = [], []
        for frame, square in zip(frames, map(_square, boxes), strict=True):
            edges = square.int()
            edges[:, :2] = edges[:, :2].clamp(min=1) - 1
            edges[:, 2:] = edges[:, 2:].minimum(torch.tensor([frame.width, frame.height]))
            inside = (edges[:, 2:] > edges[:, :2]).all(dim=1)  # True = some of the box lies in the frame
            squares.append(square[inside])
            parts += [frame.part(*box, size, size) for box in edges[inside].tolist()]
        moves, *_, scores = self._apply(net, np.stack(parts)) if parts else (torch.zeros(0, 4), torch.zeros(0, 2))
        counts = list(map(len, squares))
        for square, score, move in zip(squares, scores[:, 1].split(counts), moves.split(counts), strict=True):
            kept = score > certain
            yield square[kept], score[kept], move[kept]

    def _apply(self, net, images: np.ndarray) -> list[torch.Tensor]:
        """The outputs of a network for images (n, H, W, 3) in [0, 255]."""
        scaled = torch.from_numpy((images - 127.5) / 128).to(self.device).permute(0, 3, 1, 2)
        return [output.cpu() for output in net(scaled)]


def _move_edges(boxes: torch.Tensor, moves: torch.Tensor, pixel: int = 1) -> torch.Tensor:
    """The boxes with each edge moved by a share of their width or height; pixel : added to the length of a side."""
    sides = boxes[:, 2:] - boxes[:, :2] + pixel
    return boxes + moves * sides.repeat(1, 2)


def _square(boxes: torch.Tensor) -> torch.Tensor:
    """The boxes made square: the shorter side grows, the centre stays."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.amax(dim=1, keepdim=True)
    corner = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return torch.cat([corner, corner + longer], dim=1)


def _suppress_overlaps(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    """Non-maximum suppression: the indices of boxes to keep, highest score first; overlap : largest allowed IoU."""
    from torchvision.ops import nms

    return nms(boxes, scores, overlap)


def _suppress_contained(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    """As `_suppress_overlaps`; the overlap of two boxes is their common part, as a share of the smaller one."""
    corner = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    shared = (torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - corner + 1).clamp(min=0).prod(dim=2)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(dim=1)
    hides = shared / torch.minimum(areas[:, None], areas) > overlap  # (n, n)
    kept: list[int] = []
    for box in scores.argsort(descending=True).tolist():
        if not hides[box, kept].any():
            kept.append(box)
    return torch.tensor(kept, dtype=torch.long)
