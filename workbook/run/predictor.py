"""A trained run's answer to a clip of your own: what the run knows of itself, and the way from a file to a page."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbook import ROOT, InputError
from workbook.data.datasets import DATASETS
from workbook.data.store import read_json
from workbook.data.window import WINDOW
from workbook.files import atomic_write, write_json
from workbook.run.reopen import load_run
from workbook.run.run_folder import read_record

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from workbook.predict.prediction import Learnt
    from workbook.predict.windows import Windows
    from workbook.run.parameters import Parameters


@dataclass(frozen=True)
class Predictor:
    """A trained network with what it needs to answer; its corpus need not be there."""

    network: "nn.Module"
    learnt: "Learnt"
    settings: dict[str, Any]  # of preparing a clip, as the network's corpus was prepared
    device: str

    def __call__(
        self, clip: Path | str, sound: Path | str = "", hop: float = WINDOW / 2, progress: bool = False
    ) -> tuple["Windows", "pd.DataFrame"]:
        """The windows of a film or a sound, and the probabilities in each, as `predict.prediction.answers` has them.

        sound, hop : as in `slide`. Raises InputError where nothing of the clip can be used.
        """
        from workbook.predict.prediction import answers
        from workbook.predict.windows import slide

        windows = slide(clip, sound=sound, hop=hop, progress=progress, **self.settings)
        return windows, answers(self.network, windows, self.learnt, self.device)


def open_predictor(folder: Path | str, device: str = "auto") -> Predictor:
    """The network of a run folder, ready for clips of your own; a relative path starts at the workbook.

    device : auto | cpu | cuda
    Raises InputError where there is no trained run, and where it has learnt from features.
    """
    import torch

    folder = ROOT / Path(folder).expanduser()
    network = load_run(folder)
    record = read_record(folder)
    given = record["parameters"]
    if DATASETS[given["dataset"]].kind == "features":
        raise InputError(
            f"{folder} has learnt from features that something else has made, so it cannot read a film or a sound: "
            "give a run of a dataset of clips"
        )
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    settings = {name: given[name] for name in ("frames", "image_size", "audio_features")}
    settings["protocol"] = "authors" if given["protocol"] == "authors" else "paper"
    return Predictor(network.to(device), _learnt(folder, record, given), settings, device)


def _learnt(folder: Path, record: dict[str, Any], given: dict[str, Any]) -> "Learnt":
    """What a run folder says of where its network has learnt."""
    from workbook.predict.prediction import MEANING, Learnt

    dataset = DATASETS[given["dataset"]]
    measured = read_json(folder / "metrics.json").get("conditions", {})
    return Learnt(
        corpus=dataset.title,
        drawn=dataset.make is not None,
        labels=tuple(record.get("labels") or dataset.names[-given["classes"] :]),  # older records have none
        dropout=given["dropout"],
        accuracy={name: measured[name]["accuracy"] for name in MEANING if name in measured},
        clips={name: measured[name]["clips"] for name in MEANING if name in measured},
        people_met=given["fold_scheme"] == "clips",
    )


def write_answer(
    windows: "Windows", table: "pd.DataFrame", learnt: "Learnt", html: Path | None = None, json: Path | None = None
) -> str:
    """The answer in words: what was seen, one line per condition and, of several windows, one per window.

    html, json : the files to write a page or all probabilities to; None = none
    """
    from workbook.plots import probabilities
    from workbook.predict.page import page
    from workbook.predict.prediction import as_record, remarks, summary, top_answers

    if html:
        with atomic_write(html) as file:
            figure = probabilities(table, windows, learnt.labels)
            file.write_text(page(windows, table, learnt, figure), encoding="utf-8")
    if json:
        write_json(json, as_record(windows, table, learnt))
    each = top_answers(table, learnt.labels, windows).to_string() if len(windows.starts) > 1 else ""
    written = [f"written: {path}" for path in (html, json) if path]
    return "\n".join(filter(None, [*remarks(windows), *summary(table, learnt.labels), each, *written]))


def example_clip(config: "Parameters") -> tuple[Path, Path]:
    """The film and the sound of the first test clip of a run's corpus that has both.

    Raises InputError where the corpus or its files are no longer there.
    """
    from workbook.files import path_of
    from workbook.run.reopen import clips_of

    table = clips_of(config, config.corpus.open_store())["test"].table
    whole = table[table["has_audio"] & table["has_video"]]
    if whole.empty:
        raise InputError("no test clip of the corpus has both sound and picture: give a clip of your own as clip")
    first = whole.iloc[0]
    return path_of(first["video_path"]), path_of(first["audio_path"])
