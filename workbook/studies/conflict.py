"""Conflict: the face of one emotion with the voice of another, of the same actor. Who wins?

docs/studies.md says what people do. Sources: de Gelder and Vroomen, The perception of emotions by ear and by eye
(Cognition and Emotion 14, 2000); Collignon et al., Audio-visual integration of emotion expression (Brain Research 1242,
2008); Takagi et al., Multisensory perception of the six basic emotions (Frontiers in Integrative Neuroscience 9, 2015).
"""

from collections.abc import Sequence

import pandas as pd

from workbook import InputError
from workbook.evaluate.conditions import Condition, Voice
from workbook.evaluate.metrics import labels_and_answers
from workbook.studies.estimates import Row, check_classes, estimates, points_of, select, share_of
from workbook.train.batches import Clips

METRICS = {name: share_of(name) for name in ("face", "voice", "neither")} | {"lead": points_of("lead")}


def conditions(clips: Clips) -> list[Condition]:
    """A voice of each emotion with every face.

    Raises InputError for sentiment, which has no classes, and where an actor has no voice of an emotion.
    """
    check_classes(clips)
    table = clips.table.assign(label=clips.labels.numpy())
    voices = set(table.loc[table["has_audio"], ["actor", "label"]].itertuples(index=False, name=None))
    for actor in table["actor"].unique():
        for label, emotion in enumerate(clips.task.names):
            if (actor, label) not in voices:
                raise InputError(
                    f"this study needs all emotions of each actor: actor {actor} has no voice that is {emotion}"
                )
    return [Voice(label, emotion) for label, emotion in enumerate(clips.task.names)]


def results(predictions: pd.DataFrame, conditions: Sequence[Voice]) -> list[Row]:
    """Whom the answers follow, over all conflicts and for each pair of emotions: a row per pair and measure.

    face, voice : emotions; "" = all      measure : face, voice or neither, the share of answers (%) that name its
    emotion; lead : face less voice, in points; agree : right answers (%) where face and voice are of one emotion
    """
    labels, answers = labels_and_answers(predictions)
    heard = predictions["condition"].map({voice.name: voice.label for voice in conditions}).to_numpy()
    face, voice, same = answers == labels, answers == heard, heard == labels
    clips = predictions.assign(face=face, voice=voice, neither=~face & ~voice, lead=1.0 * face - voice, heard=heard)
    rows = estimates(_about("", ""), clips[same].assign(agree=face[same]), {"agree": share_of("agree")})
    rows += estimates(_about("", ""), clips[~same], METRICS)
    emotions = {voice.label: voice.emotion for voice in conditions}
    for (label, heard), pair in clips[~same].groupby(["label", "heard"]):
        rows += estimates(_about(emotions[label], emotions[heard]), pair, METRICS)
    return rows


def _about(face: str, voice: str) -> Row:
    return {"condition": f"voice {voice}".strip(), "face": face, "voice": voice}


def line(system: str, rows: pd.DataFrame) -> str:
    """Who wins."""
    shares = select(rows, face="", voice="").set_index("measure")["value"]
    return (
        f"**{shares['face']:.0f} %** for the face, **{shares['voice']:.0f} %** for the voice, "
        f"**{shares['neither']:.0f} %** for neither: the answers of {system} in conflicts."
    )
