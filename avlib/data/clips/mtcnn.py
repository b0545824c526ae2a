"""Faces in a frame: the three networks of MTCNN (Zhang et al., 2016), each looking closer at what the last one left.

The weights are those of facenet-pytorch, and so are the boxes: thresholds, overlaps and rounding are those of its
`MTCNN.detect`. What differs is how a frame is made smaller. There it is averaged down afresh, pixel by pixel, for
every size of face and every candidate, which takes nearly all of the time. Here the columns of a frame are summed up
once, and any part of it at any size is read from the sums.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

FACTOR = 0.709  # from one size of faces to the one below
CELL, STRIDE = 12, 2  # pixels: the first network sees a face in every cell of 12, one cell every 2
CERTAIN = 0.6, 0.7, 0.7  # how sure each network has to be, in [0, 1]


class Sums:
    """A frame, ready to be read in any part and size. Built from (H, W, 3) uint8."""

    def __init__(self, frame: np.ndarray):
        self.height, self.width = frame.shape[:2]
        # Sums of the pixels above each row. 16 bits may overflow: the difference of two rows is right all the same, as
        # long as no more than 257 rows lie between them, which is the 13th part of the height at most.
        whole = np.uint16 if self.height < 13 * 250 else np.uint32
        self.above = np.zeros((self.height + 1, 3, self.width), whole)
        for row in range(self.height):  # in place, in the order of memory: several times as fast as np.cumsum
            np.add(self.above[row], frame[row].T, out=self.above[row + 1])

    def part(self, left: int, top: int, right: int, bottom: int, height: int, width: int) -> np.ndarray:
        """The pixels from left to right and from top to bottom, shrunk or stretched to (height, width, 3) float32.

        Each value is the mean over the pixels that it covers: `interpolate(mode="area")` in PyTorch.
        """
        first, last = _windows(top, bottom, height)
        strips = self.above[last, :, left:right] - self.above[first, :, left:right]  # (height, 3, right - left)
        before = np.zeros((height, 3, right - left + 1), np.int32)  # sums of what is left of each column
        np.cumsum(strips, axis=2, dtype=np.int32, out=before[..., 1:])
        begin, end = _windows(0, right - left, width)
        sums = (before[..., end] - before[..., begin]).transpose(0, 2, 1)  # (height, width, 3)
        return (sums / np.outer(last - first, end - begin)[..., None]).astype(np.float32)


def _windows(first: int, last: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `count` equal parts of first:last begins and ends, rounded outwards to whole pixels."""
    steps = np.arange(count + 1) * (last - first)
    return first + steps[:-1] // count, first - (-steps[1:] // count)


class Cascade:
    """MTCNN's networks with their weights loaded once."""

    def __init__(self, device: str = "cpu"):
        from facenet_pytorch.models.mtcnn import ONet, PNet, RNet  # heavy: brings torchvision

        self.device = device
        self.propose, self.refine, self.decide = (
            net().eval().to(device, memory_format=torch.channels_last) for net in (PNet, RNet, ONet)
        )

    @torch.inference_mode()
    def find(self, frames: Sequence[Sums], smallest: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """All faces of each frame, the largest first: boxes (n, 4), and how sure it is of each, (n,).

        frames : all of one size; each network looks at all of them at once
        boxes : left, top, right, bottom in pixels
        smallest : size in pixels of the smallest faces to look for
        """
        proposed = self._proposals(frames, smallest)
        refined = [
            _moved(boxes[kept], moves[kept])
            for boxes, scores, moves in self._look(frames, proposed, self.refine, 24, CERTAIN[1])
            for kept in [_apart(boxes, scores, 0.7)]
        ]
        found = []
        for boxes, scores, moves in self._look(frames, refined, self.decide, 48, CERTAIN[2]):
            boxes = _moved(boxes, moves)
            kept = _not_inside(boxes, scores, 0.7)
            kept = kept[(boxes[kept, 2:] - boxes[kept, :2]).prod(dim=1).argsort(descending=True)]
            found.append((boxes[kept].numpy(), scores[kept].numpy()))
        return found

    def _proposals(self, frames: Sequence[Sums], smallest: float) -> list[torch.Tensor]:
        """Where the first network sees a face in each frame at one of its sizes, boxes (n, 4)."""
        height, width, scale = frames[0].height, frames[0].width, CELL / smallest
        seen = [[(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 4))] for _ in frames]
        while min(height, width) * scale >= CELL:
            size = int(height * scale + 1), int(width * scale + 1)
            whole = np.stack([frame.part(0, 0, width, height, *size) for frame in frames])
            moves, scores = self._ask(self.propose, whole)  # (frames, 4, h, w), (frames, 2, h, w)
            for move, score, at_all_sizes in zip(moves, scores[:, 1], seen, strict=True):
                row, column = torch.nonzero(score >= CERTAIN[0], as_tuple=True)
                corner = STRIDE * torch.stack([column, row, column, row], dim=1).float() + 1
                box = ((corner + torch.tensor([0, 0, CELL - 1, CELL - 1])) / scale).floor()
                kept = _apart(box, score[row, column], 0.5)
                at_all_sizes.append((box[kept], score[row, column][kept], move[:, row, column].T[kept]))
            scale *= FACTOR
        proposed = []
        for at_all_sizes in seen:
            boxes, scores, moves = map(torch.cat, zip(*at_all_sizes, strict=True))
            kept = _apart(boxes, scores, 0.7)
            proposed.append(_moved(boxes[kept], moves[kept], pixel=0))
        return proposed

    def _look(
        self, frames: Sequence[Sums], boxes: list[torch.Tensor], net, size: int, certain: float
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Of each frame's boxes (n, 4), made square, those in which the network sees a face at `size` pixels.

        For each frame in turn: these boxes, how sure the network is of each, and where in it the face is.
        """
        looked_at, parts = [], []
        for frame, some in zip(frames, boxes, strict=True):
            some = _square(some)
            edges = some.int()
            edges[:, :2] = edges[:, :2].clamp(min=1) - 1
            edges[:, 2:] = edges[:, 2:].minimum(torch.tensor([frame.width, frame.height]))
            inside = (edges[:, 2:] > edges[:, :2]).all(dim=1)  # True = some of the box lies in the frame
            looked_at.append(some[inside])
            parts += [frame.part(*box, size, size) for box in edges[inside].tolist()]
        moves, *_, scores = self._ask(net, np.stack(parts)) if parts else (torch.zeros(0, 4), torch.zeros(0, 2))
        counts = list(map(len, looked_at))
        for some, score, move in zip(looked_at, scores[:, 1].split(counts), moves.split(counts), strict=True):
            kept = score > certain
            yield some[kept], score[kept], move[kept]

    def _ask(self, net, images: np.ndarray) -> list[torch.Tensor]:
        """What a network answers to images (n, H, W, 3) with values up to 255."""
        given = torch.from_numpy((images - 127.5) / 128).to(self.device).permute(0, 3, 1, 2)
        return [answer.cpu() for answer in net(given)]


def _moved(boxes: torch.Tensor, moves: torch.Tensor, pixel: int = 1) -> torch.Tensor:
    """The boxes with each edge moved by a share of their width or height; pixel : what a side counts more."""
    sides = boxes[:, 2:] - boxes[:, :2] + pixel
    return boxes + moves * sides.repeat(1, 2)


def _square(boxes: torch.Tensor) -> torch.Tensor:
    """The boxes with their shorter sides lengthened about their centres."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.amax(dim=1, keepdim=True)
    corner = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return torch.cat([corner, corner + longer], dim=1)


def _apart(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    """Which boxes are left, the surest first, when none shares more than `overlap` of its union with a surer one."""
    from torchvision.ops import nms

    return nms(boxes, scores, overlap)


def _not_inside(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    """Which boxes are left, the surest first, when none shares more than `overlap` of the smaller with a surer one."""
    corner = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    shared = (torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - corner + 1).clamp(min=0).prod(dim=2)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(dim=1)
    hides = shared / torch.minimum(areas[:, None], areas) > overlap  # (n, n)
    kept: list[int] = []
    for box in scores.argsort(descending=True).tolist():
        if not hides[box, kept].any():
            kept.append(box)
    return torch.tensor(kept, dtype=torch.long)
