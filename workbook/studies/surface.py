"""A surface: worse and worse sound times worse and worse pictures, and where one overtakes the other."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.evaluate.conditions import Both, Condition, Gone, Intact
from workbook.evaluate.corruptions import Blurred, Coarse, Covered, Dark, Noisy
from workbook.evaluate.metrics import right
from workbook.studies.estimates import Row, by_condition, estimates, per_clip, points_of, select
from workbook.train.batches import Clips

SNRS = (30, 20, 10, 0, -10)  # decibels
PICTURES = (
    *(Blurred(level) for level in (2, 5, 10)),
    *(Dark(level) for level in (50, 80, 95)),
    *(Coarse(level) for level in (16, 8, 4)),
    Covered(50),
    *(Gone("video", share, "scattered") for share in (0.25, 0.5, 0.75)),
)
INTACT, NO_SOUND, NO_PICTURE = Intact(), Gone("audio"), Gone("video")


def conditions(clips: Clips, kind: str = "white") -> list[Condition]:
    """All pairs of a sound and a picture, each unchanged or worse, and each of them alone.

    kind : of noise, as in `Noisy`. Conditions with the same picture follow each other, so it is described once.
    Raises InputError for features.
    """
    if not clips.has_frames or "audio_path" not in clips.table:
        raise InputError("this study changes pixels and waveforms, which features do not have")
    sounds = [None, *(Noisy(kind, snr) for snr in SNRS)]
    pairs = [Both(sound, picture) for picture in (None, *PICTURES) for sound in (*sounds, NO_SOUND)]
    return [*pairs, *(Both(sound, NO_PICTURE) for sound in sounds)]


def results(predictions: pd.DataFrame, conditions: Sequence[Both]) -> list[Row]:
    """A row per sound, picture and measure. snr : decibels, infinite without noise

    accuracy : in percent; sound and picture are names of conditions, AV = unchanged; one of them alone stands beside
        the other's `gone`
    ahead : sound alone less picture alone, in points, each as bad as in this cell; above 0 = sound has overtaken it
    """
    about = {both.name: _about(both.sound or INTACT, both.picture or INTACT) for both in conditions}
    rows, clips = by_condition(predictions, about), per_clip(predictions, right(predictions))
    for both in conditions:
        sound_alone, picture_alone = Both(both.sound, NO_PICTURE).name, Both(NO_SOUND, both.picture).name
        if {both.name, sound_alone, picture_alone} <= set(clips):
            ahead = clips.assign(ahead=clips[sound_alone] - clips[picture_alone])
            rows += estimates({"condition": both.name} | about[both.name], ahead, {"ahead": points_of("ahead")})
    return rows


def _about(sound: Condition, picture: Condition) -> Row:
    return {"sound": sound.name, "snr": getattr(sound, "snr", np.inf), "picture": picture.name}


def line(system: str, rows: pd.DataFrame) -> str:
    """What the worst sound and the worst picture cost, and how often sound alone is ahead."""
    cells, scores = select(rows, measure="ahead"), select(rows, measure="accuracy")
    scores = scores[scores["sound"].isin(cells["sound"]) & scores["picture"].isin(cells["picture"])]
    sounds = select(scores, picture=INTACT.name).set_index("sound")["value"]
    pictures = select(scores, sound=INTACT.name).set_index("picture")["value"]
    return (
        f"**{sounds[INTACT.name]:.0f} %** with nothing changed, **{sounds.min():.0f} %** with {sounds.idxmin()}, "
        f"**{pictures.min():.0f} %** with the picture {pictures.idxmin()}: the accuracy of {system}. Sound alone is "
        f"ahead of picture alone in {100 * (cells['value'] > 0).mean():.0f} % of the cells."
    )
