"""A trained run and a clip of your own: from its folder to a predictor, and from an answer to a button and a page."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workbook import InputError
from workbook.data.window import WINDOW
from workbook.files import check_outputs, path_of, write_json, write_text
from workbook.predict.prediction import Prediction, Predictor
from workbook.run.parameters import absolute_path
from workbook.run.record import read_predictions
from workbook.run.reopen import TrainedRun

if TYPE_CHECKING:  # it imports widgets
    from workbook.predict.upload import Upload


def predictor_of(run: TrainedRun) -> Predictor:
    """The network of a run, ready for clips of your own. The data of the run are not read.

    Raises InputError where it was trained on features.
    """
    config = run.parameters
    if config.corpus.record.kind == "features":
        raise InputError(f"{run.folder} has learnt from features alone: give a run of a dataset of clips")
    settings = {name: getattr(config, name) for name in ("frames", "image_size", "audio_features")}
    settings["protocol"] = "authors" if config.protocol == "authors" else "paper"
    return Predictor(run.network, run.card, settings, config.device, config.corpus.root)


class Clip(NamedTuple):
    """The files of a clip."""

    film: Path
    sound: Path | str  # "" = the film's own
    name: str = ""  # in the corpus of a run; "" = a clip of your own


def choose_clip(run: TrainedRun, clip: str = "", sound: str = "") -> Clip:
    """Your own clip; without one, the first test clip of the run's corpus that has both sound and picture.

    Relative paths start at the workbook. Raises InputError where the corpus or its files are no longer there.
    """
    if clip:
        return Clip(absolute_path("clip", clip), absolute_path("sound", sound) if sound else "")
    table = run.test.table
    complete = table[table["has_audio"] & table["has_video"]]
    if complete.empty:
        raise InputError("no test clip of the corpus has both sound and picture: give a clip of your own as clip")
    first = complete.iloc[0]
    return Clip(path_of(first["video_path"]), path_of(first["audio_path"]), first["clip"])


def upload_button(predictor: Predictor, hop: float = WINDOW / 2) -> "Upload":
    """A button that shows the answer to a file from the reader's own computer; hop : as in `read_windows`."""
    from workbook.plots import probabilities
    from workbook.predict.upload import Upload

    def answer(path: Path, anyway: bool):
        prediction = predictor(path, hop=hop, anyway=anyway)
        sentences = [*predictor.card.sentences(), *prediction.windows.remarks(), *prediction.sentences()]
        return sentences, probabilities(prediction.table, prediction.windows, prediction.labels)

    return Upload(answer, asks=predictor.card.is_toy)


def evaluation_sentence(run: TrainedRun, prediction: Prediction, clip: Clip) -> str:
    """How far the middle window is from evaluation's numbers, in Markdown."""
    if not clip.name or not (run.folder / "predictions.parquet").exists():
        return "Evaluation has no numbers of this clip."
    table = read_predictions(run.folder)
    largest = prediction.difference(table[table["clip"] == clip.name])
    return f"**{largest:.1e}** is the largest difference to evaluation."


def write_prediction(
    prediction: Prediction, html: Path | None = None, json: Path | None = None, inputs: Iterable[Path | str] = ()
) -> str:
    """The answer in words, and in files: remarks, one line per condition and, of several windows, one per window.

    html, json : the files of a page and of all probabilities; None = none      inputs : what they must not replace
    """
    from workbook.plots import probabilities

    check_outputs([html, json], inputs)
    if html:
        write_text(html, prediction.as_page(probabilities(prediction.table, prediction.windows, prediction.labels)))
    if json:
        write_json(json, prediction.as_record())
    lines = [*prediction.windows.remarks(), *prediction.sentences()]
    several = len(prediction.windows.starts) > 1 and not prediction.is_withheld
    lines += [prediction.likeliest().to_string()] if several else []
    return "\n".join([*lines, *(f"written: {path}" for path in (html, json) if path)])
