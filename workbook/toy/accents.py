"""People who show emotions each in a way of their own, as features, for lessons on protocols.

A clip is the sum of three patterns in each modality: of the emotion, which all people share; of the emotion in this
person, their accent; and of the clip. Some people show the shared pattern strongly, others weakly. So a network does
better on people whom it has met, and on some strangers more than on others.
"""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np

from workbook.data.ravdess import EMOTIONS
from workbook.files import atomic_write

PEOPLE = range(1, 25)  # numbered as in RAVDESS, so that its fold schemes fit
TAKES = 4  # clips of a person with each emotion
STEPS, CHANNELS = 8, 20  # of each modality
SHARED, ACCENT, CLIP = 0.4, 0.9, 0.3  # deviations in each channel; the noise of a step has 1
STRENGTH = (0.7, 1.3)  # of the shared pattern in a person, at least and at most


def make_file(path: Path | str, people: Iterable[int] = PEOPLE, seed: int = 0) -> None:
    """Writes the features of some people to an .npz at `path`, as `read_npz` reads it.

    The same seed gives the same shared patterns, and to the same people the same arrays.
    """
    people = list(people)
    person, label, _ = np.array(list(product(range(len(people)), range(len(EMOTIONS)), range(TAKES)))).T
    shared = np.random.default_rng(seed).normal(0, SHARED, (2, len(EMOTIONS), CHANNELS))
    rng = np.random.default_rng([seed, *people])
    strength = rng.uniform(*STRENGTH, (len(people), 1))[person]
    arrays = {"label": np.array(EMOTIONS)[label], "group": np.array(people)[person]}
    for modality, patterns in zip(("audio", "video"), shared, strict=True):
        accents = rng.normal(0, ACCENT, (len(people), len(EMOTIONS), CHANNELS))[person, label]
        clips = strength * patterns[label] + accents + rng.normal(0, CLIP, (len(label), CHANNELS))
        steps = clips[:, :, None] + rng.standard_normal((len(label), CHANNELS, STEPS))
        arrays[modality] = steps.astype(np.float32)
    with atomic_write(Path(path)) as temporary:
        np.savez(temporary, **arrays)
