"""What makes the faces of a film doubtful: they do not stand upright, or another person takes the place of one."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from workbook.data.prepare import detector

MOST = 12  # faces of a film that the detector looks at
UPRIGHT = 0.6  # a film is doubted if a smaller share of its faces looks upright; in upright films all did
TOLERANCE = 0.02  # of the detector's confidence
CHANGE, TIMES_USUAL = 0.11, 2.5  # from a face to the next: a share of full brightness, and in units of the median


def doubts(faces: np.ndarray, times: np.ndarray) -> list[str]:
    """Sentences on the followed faces (N, S, S, 3) uint8 of a film, at these seconds, ascending."""
    sentences = []
    if len(faces) and upright_share(faces) < UPRIGHT:
        sentences.append("The faces do not look upright: turn the film, and do not believe this answer.")
    if moments := jumps(faces, times):
        listed = ", ".join(f"{moment:.1f}" for moment in moments[:5]) + (", …" if len(moments) > 5 else "")
        sentences.append(f"At {listed} s the face changes all at once: perhaps a cut, or another person.")
    return sentences


def upright_share(faces: np.ndarray) -> float:
    """The share of faces of which the detector is no less sure than of the same face turned by a quarter or a half."""
    chosen = faces[np.linspace(0, len(faces) - 1, min(MOST, len(faces))).astype(int)]
    sure = np.stack([detector().confidence([np.rot90(face, turn) for face in chosen]) for turn in range(4)])
    return float((sure[0] >= sure.max(axis=0) - TOLERANCE).mean())


def jumps(faces: Sequence[np.ndarray], times: np.ndarray) -> list[float]:
    """The seconds at which a face differs from the one before far more than faces of this film usually do."""
    if len(faces) < 3:
        return []
    small = np.stack([np.asarray(Image.fromarray(face).resize((8, 8), Image.Resampling.BOX), float) for face in faces])
    steps = np.sqrt((np.diff(small / 255, axis=0) ** 2).mean(axis=(1, 2, 3)))
    return [float(time) for time in times[1:][steps > max(CHANGE, TIMES_USUAL * np.median(steps))]]
