"""RAVDESS on disk: trials from file names, folds of actors, labels for 8 or 7 classes (Livingstone & Russo, 2018).

A file name is seven two-digit fields, modality-channel-emotion-intensity-statement-repetition-actor, for example
`01-01-03-02-01-01-05.mp4`. The same trial may come as `01-` (sound and picture), `02-` (picture) and `03-` (sound);
here it is one row, called after the six fields that do not name the modality.

The original code's preprocessing leaves `01-01-03-02-01-01-05_facecroppad.npy` and `03-01-03-02-01-01-05_croppad.wav`
of a trial. Protocol `authors` reads them as they are.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from avlib import InputError

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")  # codes 01 to 08

FIELDS = {"modality": 3, "channel": 2, "emotion": 8, "intensity": 2, "statement": 2, "repetition": 2, "actor": 24}
SUFFIXES = (".mp4", ".wav", ".flac")
AUTHORS_FILES = AUTHORS_FACES, AUTHORS_SOUND = "_facecroppad.npy", "_croppad.wav"  # of the original preprocessing

# Where a trial's picture and sound come from: (modality, end of the name), the first one present wins.
VIDEO_SOURCES = ((1, ".mp4"), (2, ".mp4"))
AUDIO_SOURCES = ((3, ".wav"), (3, ".flac"), (3, ".mp4"), (1, ".wav"), (1, ".flac"), (1, ".mp4"))
AUTHORS_VIDEO_SOURCES = ((1, AUTHORS_FACES), (2, AUTHORS_FACES), *VIDEO_SOURCES)
AUTHORS_AUDIO_SOURCES = ((3, AUTHORS_SOUND), *AUDIO_SOURCES)

FOLDS = {"paper": 5, "authors": 1, "luna": 5, "loso": 24, "groups": 5, "own": 1}  # fold scheme -> how many folds it has

TRIAL_COLUMNS = ["actor", "label", "emotion", "intensity", "statement", "repetition"]
FILE_COLUMNS = [*FIELDS, "clip", "path", "kind", "label"]
PROBLEM_COLUMNS = ["clip", "path", "modality", "reason"]
EXPECTED = "files such as Actor_05/03-01-03-02-01-01-05.wav (mp4, wav or flac) in any folder below it"


def parse_name(name: str) -> dict[str, int]:
    """The seven fields of a RAVDESS file name (without suffix) as numbers, for example {"modality": 1, ...}.

    Raises InputError that says which field is wrong.
    """
    codes = name.split("-")
    if len(codes) != len(FIELDS):
        raise InputError(f"'{name}' has {len(codes)} fields where a name has seven: {'-'.join(FIELDS)}")
    for (field, last), code in zip(FIELDS.items(), codes, strict=True):
        if not re.fullmatch("[0-9]{2}", code) or not 1 <= int(code) <= last:
            raise InputError(f"the {field} field of '{name}' is '{code}' where 01 to {last:02d} is expected")
    return dict(zip(FIELDS, map(int, codes), strict=True))


def find_trials(
    root: Path | str, speech_only: bool = True, protocol: str = "paper"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per trial found anywhere under `root`, and one row per file or folder that could not be used.

    trials : clip, actor, label (0 to 7), emotion, intensity, statement, repetition, video_path, audio_path; sorted by
             clip. Picture from the `01-` file, else `02-`; sound from the `03-` file (wav before flac), else the
             sound track of `01-`. A path is "" where the corpus has no such file. Of two equal files in two places
             the first by path counts. Protocol `authors` prefers what the original preprocessing left, and adds the
             column copies: 2 where the picture is there as `01-` and as `02-`, which the original code counts as two
             clips, else 1.
    problems : clip, path, modality, reason. Files of other kinds and hidden files are passed over in silence, and so
               is, in protocol `paper`, what the original preprocessing left.

    Raises InputError where `root` is missing or holds no clip.
    """
    root = Path(root).expanduser().resolve()
    if not os.path.isdir(root):
        raise InputError(f"{root} is not a folder: the corpus was expected there, {EXPECTED}")
    files, problems = _scan(root)
    files = files[files["channel"] == 1] if speech_only else files
    authors, prepared = protocol == "authors", files["kind"].isin(AUTHORS_FILES)
    if not authors:
        files = files[~prepared]
    if files.empty:
        reason = f"; the first problem is: {problems['reason'].iloc[0]}" if len(problems) else ""
        hint = "; what the authors' scripts have left there is read with protocol=authors" if prepared.any() else reason
        raise InputError(f"{root} holds no {'speech ' * speech_only}clip: expected {EXPECTED}{hint}")
    trials = files.drop_duplicates("clip").set_index("clip")[TRIAL_COLUMNS].sort_index()
    trials["video_path"] = _best_source(files, AUTHORS_VIDEO_SOURCES if authors else VIDEO_SOURCES)
    trials["audio_path"] = _best_source(files, AUTHORS_AUDIO_SOURCES if authors else AUDIO_SOURCES)
    trials = trials.fillna({"video_path": "", "audio_path": ""})
    if authors:
        trials["copies"] = _copies(files).reindex(trials.index, fill_value=1)
    return trials.reset_index(), problems


def _copies(files: pd.DataFrame) -> pd.Series:
    """As how many of `01-` and `02-` the picture of each clip is there, indexed by clip; clips without one are not."""
    pictures = files[files["modality"].isin([1, 2]) & files["kind"].isin([".mp4", AUTHORS_FACES])]
    return pictures.groupby("clip")["modality"].nunique()


def _best_source(files: pd.DataFrame, sources: tuple) -> pd.Series:
    """The preferred path of each clip, indexed by clip; clips without such a file are not in it."""
    rank = [sources.index(kind) if kind in sources else -1 for kind in zip(files.modality, files.kind, strict=True)]
    ranked = files.assign(rank=rank).query("rank >= 0").sort_values(["rank", "path"])
    return ranked.drop_duplicates("clip").set_index("clip")["path"]


def _scan(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every well-named media file below `root` with its fields, and the problems met on the way, sorted by path."""
    rows, problems = [], []

    def report(path: Path | str, reason: str) -> None:
        problems.append({"clip": "", "path": str(path), "modality": "", "reason": reason})

    def unreadable(error: OSError) -> None:
        report(error.filename, f"the folder cannot be read ({error.strerror}): whatever it holds is left out")

    for path in _walk(root, unreadable):
        try:
            fields = parse_name(_stem_and_kind(path)[0])
        except InputError as error:
            report(path, str(error))
            continue
        kind = path.suffix.lower()
        if fields["modality"] == 2 and kind in (".wav", ".flac"):
            report(path, f"'{path.name}' is named as picture alone (modality 02), but {path.suffix} holds sound alone")
        elif fields["modality"] == 3 and kind == ".npy":
            report(path, f"'{path.name}' is named as sound alone (modality 03), but holds faces")
        else:
            rows.append(_row(path, fields))
    problems.sort(key=lambda problem: problem["path"])
    return pd.DataFrame(rows, columns=FILE_COLUMNS), pd.DataFrame(problems, columns=PROBLEM_COLUMNS)


def _row(path: Path, fields: dict[str, int]) -> dict:
    code = fields["emotion"]
    stem, kind = _stem_and_kind(path)
    return fields | {
        "clip": stem[3:],
        "path": str(path),
        "kind": kind,
        "label": code - 1,
        "emotion": EMOTIONS[code - 1],
    }


def _stem_and_kind(path: Path) -> tuple[str, str]:
    """The seven fields in a file's name, and what follows them: its suffix, or what the authors' scripts append."""
    for kind in AUTHORS_FILES:
        if path.name.endswith(kind):
            return path.name.removesuffix(kind), kind
    return path.stem, path.suffix.lower()


def _walk(root: Path, onerror) -> Iterator[Path]:
    """The files of a corpus below `root`, sorted; links are followed, each real folder is entered once."""
    seen, found = {os.path.realpath(root)}, []
    for folder, folders, names in os.walk(root, onerror=onerror, followlinks=True):
        real = {name: os.path.realpath(os.path.join(folder, name)) for name in sorted(folders)}
        folders[:] = [name for name, path in real.items() if path not in seen]
        seen.update(real.values())
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    yield from sorted(path for path in found if _stem_and_kind(path)[1] in SUFFIXES + AUTHORS_FILES)


def folds(scheme: str = "paper", actors: Iterable = range(1, 25)) -> pd.DataFrame:
    """Which actor is in which part of which fold: columns fold (from 0), actor, part (train, validation or test).

    paper : 5 folds of 16 training, 4 validation and 4 test actors (section IV), two women and two men in every test set
    authors : one fold, the split of the weights that the authors released; it is fold 0 of `paper` too
    luna : the 5 folds of Luna-Jimenez et al. (2021), in which each of the 24 actors is tested once
    loso : leave one speaker out, 24 folds; fold k tests actor k + 1 and validates on the two after, a man and a woman
    groups : 5 folds over any actors, in which each is tested once; made from `actors`, which only this scheme reads

    Except in `authors` and `loso` a fold is validated on the test actors of the next one, the last one on the first's.
    A sixth scheme, `own`, is the split that a file of features brings. It is one of clips, and `split` alone knows it.

    actors : the actor of every clip, a number or a name. Raises InputError for an unknown scheme.
    """
    if scheme not in FOLDS:
        raise InputError(f"there is no fold scheme '{scheme}': choose one of {', '.join(FOLDS)}")
    if scheme == "own":
        raise InputError("fold scheme 'own' is a split of clips, not of actors: their column `part` has it")
    if scheme == "loso":
        return _in_turn({actor: actor - 1 for actor in range(1, 25)}, validation=2)
    if scheme == "groups":
        return _in_turn(_share_out(actors, FOLDS["groups"]), validation=1)
    table = pd.read_csv(Path(__file__).with_name("folds.csv"))
    return table[table["scheme"] == scheme].drop(columns="scheme").reset_index(drop=True)


def _in_turn(tested: dict, validation: int) -> pd.DataFrame:
    """Folds in which every actor is tested once and validates the `validation` folds before.

    tested : actor -> the fold that tests it
    """
    count = max(tested.values()) + 1
    parts = ["test", *["validation"] * validation, *["train"] * (count - 1 - validation)]
    rows = [(fold, actor, parts[(own - fold) % count]) for fold in range(count) for actor, own in tested.items()]
    return pd.DataFrame(rows, columns=["fold", "actor", "part"])


def _share_out(actors: Iterable, count: int) -> dict:
    """The fold that tests each actor: those with most clips first, each to the fold with fewest clips so far."""
    clips = Counter(actors)
    if len(clips) < count:
        raise InputError(f"fold scheme 'groups' needs at least {count} actors, this corpus has {len(clips)}")
    sizes, tested = [0] * count, {}
    for actor in sorted(clips, key=lambda actor: (-clips[actor], actor)):
        tested[actor] = sizes.index(min(sizes))
        sizes[tested[actor]] += clips[actor]
    return dict(sorted(tested.items()))


def split(clips: pd.DataFrame, fold: int, scheme: str = "paper") -> dict[str, np.ndarray]:
    """The positions of the rows of `clips` in each part of a fold: {"train", "validation", "test"}.

    No actor is in two parts; in scheme `own` that is up to the file that brought the split.

    clips : any table with a column `actor`, for scheme `own` also `part`        scheme : as in `folds`, or `own`
    Raises InputError where the scheme has no such fold, or where the clips bring no split of their own.
    """
    if scheme in FOLDS and fold not in range(FOLDS[scheme]):
        raise InputError(f"fold is {fold}; {fold_range(scheme)}")
    if scheme == "own":
        part = _own_part(clips)
    else:
        table = folds(scheme, clips["actor"])
        part = clips["actor"].map(table[table["fold"] == fold].set_index("actor")["part"])
    return {name: np.flatnonzero(part == name) for name in ("train", "validation", "test")}


def _own_part(clips: pd.DataFrame) -> pd.Series:
    """The part of every clip in the split that its file brings."""
    if "part" not in clips:
        others = ", ".join(name for name in FOLDS if name != "own")
        raise InputError(
            f"fold scheme 'own' is the split of a file that has one, as MOSEI's do: choose one of {others}"
        )
    return clips["part"]


def fold_range(scheme: str) -> str:
    """The end of a sentence about a fold that a scheme does not have: `it must be a whole number from 0 to 4 ...`."""
    last = FOLDS[scheme] - 1
    allowed = f"a whole number from 0 to {last}" if last else "0, the only one"
    return f"it must be {allowed} in fold_scheme '{scheme}'"


def relabel(labels: np.ndarray, classes: int = 8) -> np.ndarray:
    """The store's labels for a task of 8 or 7 classes; -1 marks a clip that the task leaves out.

    labels : 0 (neutral) to 7 (surprised). With 7 classes neutral is left out and calm becomes 0, so that the names
             are `EMOTIONS[-classes:]` either way.
    """
    labels = np.asarray(labels)
    if classes not in (7, 8):
        raise InputError(f"there is no task of {classes} classes: choose 8, or 7 to leave neutral out")
    return labels - (8 - classes)
