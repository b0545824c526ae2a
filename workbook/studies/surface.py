"""A surface: worse and worse sound times worse and worse pictures, and where the one overtakes the other."""

from collections.abc import Sequence

import pandas as pd

from workbook import InputError
from workbook.evaluate.conditions import Both, Condition, Gone, Intact
from workbook.evaluate.corruptions import Blurred, Coarse, Covered, Dark, Noisy
from workbook.evaluate.statistics import Systems
from workbook.studies.study import Study, accuracy, estimate, mean_of, of, per_clip, results, right
from workbook.train.batches import Clips

SNRS = (30, 20, 10, 0, -10)  # decibels
PICTURES = (
    *(Blurred(level) for level in (2, 5, 10)),
    *(Dark(level) for level in (50, 80, 95)),
    *(Coarse(level) for level in (16, 8, 4)),
    Covered(50),
    *(Gone("video", share, "scattered") for share in (0.25, 0.5, 0.75)),
)
WHOLE = Intact()


def conditions(clips: Clips, kind: str = "white") -> list[Condition]:
    """All pairs of a sound and a picture, each as it is or worse, and each of them alone.

    kind : of noise, as in `Noisy`. Conditions with the same picture follow each other, so it is described once.
    Raises InputError for features.
    """
    if not clips.has_frames or "audio_path" not in clips.table:
        raise InputError("this study changes pixels and waveforms, which features do not have")
    sounds = [None, *(Noisy(kind, snr) for snr in SNRS)]
    found = []
    for picture in (None, *PICTURES):
        found += [Both(sound, picture) for sound in (*sounds, Gone("audio"))]
    return [*found, *(Both(sound, Gone("video")) for sound in sounds)]


def table(systems: Systems, conditions: Sequence[Condition]) -> pd.DataFrame:
    """A row per system, sound, picture and measure. snr : decibels, infinite without noise

    accuracy : in percent; sound and picture are names of conditions, AV = as it is; one of them alone stands beside the
        other's `gone`
    ahead : sound alone less picture alone, in points, each as bad as in this cell; above 0 = sound has overtaken it
    """
    rows, alone = [], {}
    for condition in conditions:
        sound, picture = (part or WHOLE for part in (condition.sound, condition.picture))
        about = {"sound": sound.name, "snr": getattr(sound, "snr", float("inf")), "picture": picture.name}
        if Gone("audio") in (sound, picture) or Gone("video") in (sound, picture):
            alone[sound.name, picture.name] = condition.name
        for name, system in systems.items():
            rows += results({name: system}, [condition], {"accuracy": accuracy(system)}, **about)
    cells = pd.DataFrame(rows)
    for name, system in systems.items():
        clips = per_clip(system, right(system))
        for cell in of(cells, system=name).to_dict("records"):
            pair = alone.get((cell["sound"], Gone("video").name)), alone.get((Gone("audio").name, cell["picture"]))
            if None not in pair and set(pair) <= set(clips):
                found = estimate(clips.assign(ahead=clips[pair[0]] - clips[pair[1]]), mean_of("ahead", 100))
                rows.append(cell | {"measure": "ahead"} | found)
    return pd.DataFrame(rows)


def sentence(table: pd.DataFrame) -> str:
    """What the worst sound and the worst picture cost, and how often sound alone is ahead: a line for each system."""
    cells, lines = of(table, measure="ahead"), []
    for system, own in of(table, measure="accuracy").groupby("system", sort=False):
        inside = own[own["sound"].isin(cells["sound"]) & own["picture"].isin(cells["picture"])]
        sounds = of(inside, picture=WHOLE.name).set_index("sound")["value"]
        pictures = of(inside, sound=WHOLE.name).set_index("picture")["value"]
        ahead = 100 * (of(cells, system=system)["value"] > 0).mean()
        lines.append(
            f"{system} falls from {sounds[WHOLE.name]:.0f} % to {sounds.min():.0f} % with {sounds.idxmin()}, and to "
            f"{pictures.min():.0f} % with the picture {pictures.idxmin()}. Sound alone is ahead of picture alone in "
            f"{ahead:.0f} % of the cells."
        )
    return "\n".join(lines)


STUDY = Study("How bad may sound and picture be?", conditions, table, sentence)
