"""A network's answer to a clip of your own: its probabilities in each window, and how far it can be trusted."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from avlib.model import AudiovisualNet
from workbook import InputError
from workbook.data.store import PROBLEM_COLUMNS, Store
from workbook.data.window import WINDOW
from workbook.evaluate.conditions import Both, paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.predict.windows import Windows, read_windows
from workbook.task import Classification
from workbook.train.batches import Clips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASK = "Ask for it with `anyway`, to see how sure a network can be of what it has never seen."
TOY = (
    "It has seen only drawn faces and heard only synthesised voices.",
    "What it says of a real face or a real voice means nothing.",
)
ACTED = (
    "It names what a face and a voice show, as the people of its corpus showed it. Acted emotion is not felt "
    "emotion: no answer says what somebody feels."
)
MEANING = {"AV": "sound and picture", "A": "sound alone", "V": "picture alone"}  # what a condition answers from


@dataclass(frozen=True)
class ModelCard:
    """What a network was trained on, and how well it does there."""

    corpus: str  # its title
    is_toy: bool  # True = drawn faces and synthesised voices
    labels: tuple[str, ...]
    dropout: str = "none"  # the modality dropout of its training
    accuracy: dict[str, float] = field(default_factory=dict)  # in percent, by condition, on the test clips
    clips: dict[str, int] = field(default_factory=dict)  # the number of test clips, by condition
    knows_people: bool = False  # True = it was trained on the people of its test
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # of the accuracies, 95 %, over people
    testers: int = 0  # people of the test clips; 0 = not counted
    is_score: bool = False  # True = it answers with a score, and accuracy is that of the sign
    is_acted: bool = False  # True = actors show emotions that they were asked for
    material: tuple[int, int, int] | None = None  # of its training: clips, people, and clips with both modalities
    imported: str = ""  # from which file, and what that does not tell; "" = it was trained here

    def about(self) -> list[str]:
        """What it has learnt from, and how well it does in its test."""
        if self.imported:
            return [f"This network is tested on {self.corpus}. {self.imported}", self._skill()]
        parts = [self.corpus, "acted"] if self.is_acted else [self.corpus]
        if self.material:
            clips, people, both = self.material
            some = f"{both:,} of them with sound and picture" if both else "unpaired: none with sound and picture"
            parts += [f"{clips:,} clips of {people:,} people", "all with sound and picture" if both == clips else some]
        return [f"This network has learnt from one corpus: {', '.join(parts)}.", self._skill()]

    def sentences(self) -> list[str]:
        """What to know before reading an answer."""
        material, skill = self.about()
        return [material, *(TOY if self.is_toy else ()), skill, ACTED]

    def _skill(self) -> str:
        if not self.accuracy:
            return "It has not been evaluated: nobody knows how well it does."
        who = "one person" if self.testers == 1 else f"{self.testers or ''} people".strip()
        who += " whom it had met in training" if self.knows_people else " whom it had never met"
        who += ", if it was trained on this split" * bool(self.imported)
        reach = {name: f"; 95 % interval {low:.0f} to {high:.0f}" for name, (low, high) in self.intervals.items()}
        parts = [
            f"{self.accuracy[name]:.1f} % from {MEANING[name]} ({count:.0f} clips{reach.get(name, '')})"
            for name, count in self.clips.items()
        ]
        chance = "" if self.is_score else f"; guessing gives {100 / len(self.labels):.1f} %"
        return f"Its right answers on test clips of {who}: {', '.join(parts)}{chance}."


@dataclass(frozen=True)
class Prediction:
    """A network's answer to each window of a clip."""

    windows: Windows
    table: pd.DataFrame  # columns window, start and end in seconds, condition, and a probability for each label
    card: ModelCard

    @property
    def labels(self) -> list[str]:
        return list(self.card.labels)

    @property
    def is_withheld(self) -> bool:
        """True = no answer is shown: it would mean nothing, and nobody asked for it."""
        return self.table.empty

    def mean(self) -> pd.DataFrame:
        """The mean probabilities over the windows, one row per condition."""
        return self.table.groupby("condition", sort=False)[self.labels].mean()

    def middle(self) -> pd.DataFrame:
        """The probabilities of the middle window, one row per condition: what `evaluate` says of a test clip."""
        return self.table[self.table["window"] == self.windows.middle].set_index("condition")[self.labels]

    def likeliest(self) -> pd.DataFrame:
        """The likeliest label of each window with its probability, a column per condition; "" = no answer."""
        if self.is_withheld:
            return pd.DataFrame()
        values = self.table[self.labels]
        shares = (100 * values.max(axis=1)).map("{:.0f} %".format)
        table = self.table.assign(answer=values.idxmax(axis=1) + " " + shares)
        wide = table.pivot(index="window", columns="condition", values="answer")
        wide = wide[table["condition"].unique()].reindex(range(len(self.windows.starts))).fillna("")
        seconds = [f"{start:.1f} to {start + WINDOW:.1f} s" for start in self.windows.starts]
        return wide.set_axis(seconds).rename_axis(columns=None)

    def sentences(self) -> list[str]:
        """One sentence per condition with the answer: of one window, or the mean of several."""
        if self.is_withheld:
            return [f"No answer is shown: it would mean nothing. {ASK}"]
        sentences, mean = [], "on the mean of all windows, " if self.table["window"].nunique() > 1 else ""
        for condition, row in self.mean().iterrows():
            first, second = (f"{label} ({100 * value:.0f} %)" for label, value in row.nlargest(2).items())
            sentences.append(f"{condition}, from {MEANING[condition]}: {mean}{first}, then {second}.")
        return sentences

    def difference(self, predictions: pd.DataFrame) -> float:
        """The largest difference to evaluation; predictions : the rows of this clip in predictions.parquet"""
        own = self.middle()
        rows = predictions.set_index("condition").loc[own.index].filter(regex=r"^p\d+$")
        return float(np.abs(rows.to_numpy() - own.to_numpy()).max())

    def as_record(self) -> dict[str, Any]:
        """All of it as plain data, for a JSON file: first what to know, then the clip, then the probabilities.

        Of each window, each condition has a probability per label, or null where the window lacks what it needs.
        """

        def by_condition(rows: pd.DataFrame) -> dict[str, dict | None]:
            known = rows.set_index("condition")[self.labels].astype(float).to_dict("index")
            return {condition: known.get(condition) for condition in MEANING}

        card, windows = self.card, self.windows
        return {
            "know_first": card.sentences(),
            "learnt_from": {
                "corpus": card.corpus,
                "toy": card.is_toy,
                "accuracy": card.accuracy,
                "95 %": card.intervals,
            },
            "clip": windows.name,
            "seconds": windows.seconds,
            "withheld": self.is_withheld,
            "remarks": windows.remarks(),
            "faces": windows.faces,
            "labels": self.labels,
            "mean": by_condition(self.mean().reset_index()),
            "middle": windows.middle,
            "windows": [
                {"start": float(start), "end": float(start + WINDOW)}
                | by_condition(self.table[self.table["window"] == window])
                for window, start in enumerate(windows.starts)
            ],
        }

    def as_page(self, figure: "Figure") -> str:
        """An HTML file that needs no other: what to know first, sentences, the figure, every window."""
        import jinja2
        from IPython.core.pylabtools import print_figure  # takes half a second, and few want a page

        environment = jinja2.Environment(loader=jinja2.PackageLoader("workbook", "predict"), autoescape=True)
        return environment.get_template("page.html").render(
            record=self.as_record(),
            sentences=self.sentences(),
            conditions=list(MEANING),
            figure=print_figure(figure, base64=True, dpi=150, facecolor="white"),
            window=WINDOW,
        )


@dataclass(frozen=True)
class Predictor:
    """A trained network, ready for clips of your own; its corpus need not be there."""

    network: AudiovisualNet
    card: ModelCard
    settings: dict[str, Any]  # of `read_windows`: frames, image_size, protocol, audio_features, as in the corpus
    device: str = "cpu"
    corpus: Path | None = None  # the folder of its corpus

    def __call__(
        self,
        clip: Path | str,
        sound: Path | str = "",
        hop: float = WINDOW / 2,
        progress: bool = False,
        anyway: bool = True,
    ) -> Prediction:
        """The answer to a film or a sound; sound, hop, progress : as in `read_windows`.

        anyway : False withholds the answer of a network of drawn faces to a clip that is not of its corpus
        Raises InputError where nothing of the clip can be used.
        """
        windows = read_windows(clip, sound=sound, hop=hop, progress=progress, **self.settings)
        prediction = predict_windows(self.network, windows, self.card, self.device)
        is_own = self.corpus is None or not Path(clip).resolve().is_relative_to(self.corpus)
        if anyway or not self.card.is_toy or not is_own:
            return prediction
        return replace(prediction, table=prediction.table[:0])


def predict_windows(net: AudiovisualNet, windows: Windows, card: ModelCard, device: str = "cpu") -> Prediction:
    """The probability of each label in each window, in the conditions AV, A and V.

    A network of a single branch has one condition, and a window that lacks a modality has no row in a condition that
    needs it. The middle window of a test clip has the numbers of `evaluate`'s predictions, on the same processor with
    as many threads, where the network was not trained with noise.
    Raises InputError where the network reads nothing that the clip has.
    """
    reads = net.fusion.modalities
    alone = paper_conditions(card.dropout)[1:3]
    conditions = [Both(None, None), *alone] if len(reads) == 2 else alone  # AV, of windows with sound and picture
    table = predict(net, _as_clips(net, windows, card, device), conditions, fold=0, seed=0, batch_size=8)
    if table.empty:
        missing = " and ".join("sound" if name == "audio" else "a picture" for name in reads)
        raise InputError(f"this network reads {missing} alone, and {windows.name} has none that can be used")
    window = table["clip"].to_numpy(int)
    start = windows.starts[window]
    places = pd.DataFrame({"window": window, "start": start, "end": start + WINDOW, "condition": table["condition"]})
    return Prediction(windows, places.join(table.filter(regex=r"^p\d+$").set_axis(card.labels, axis="columns")), card)


def _as_clips(net: AudiovisualNet, windows: Windows, card: ModelCard, device: str) -> Clips:
    """The windows as clips of a store in memory, so that they are predicted like the clips of a corpus."""
    count = len(windows.starts)
    table = pd.DataFrame({"clip": np.arange(count).astype(str), "actor": 0, "label": 0})
    table = table.assign(has_audio=windows.has_audio, has_video=windows.has_video)
    store = Store(None, table, windows.video, windows.audio, pd.DataFrame(columns=PROBLEM_COLUMNS), {})
    task = Classification(card.labels)
    return Clips(store, np.arange(count), np.zeros(count, int), task, device, net.fusion.modalities)
