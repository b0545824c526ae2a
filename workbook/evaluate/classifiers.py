"""Baselines without a network: logistic regression and a support vector machine on statistics of each clip.

Each condition has a classifier of its own, so that none ever lacks a modality: A is what the sound tells alone.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from workbook.evaluate.evaluation import as_predictions
from workbook.train.batches import Clips

STATISTICS = (np.mean, np.std, np.min, np.max)  # over time, of every channel
READ = {"AV": ("audio", "video"), "A": ("audio",), "V": ("video",)}  # condition -> modalities
STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # of C, the inverse of regularisation; validation chooses
NAMES = ("logistic regression", "SVM")


def predict_without_network(
    train: Clips, validation: Clips, test: Clips, *, fold: int, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """The predictions of each baseline, in the columns of `evaluation.predict`, by its name.

    A condition whose modality all clips of a split lack has none.
    Of sentiment they are ridge regression and support vector regression, under the same names. Probabilities of the
    SVM are a softmax of its decisions, for the answer alone: they are not calibrated.

    train, validation, test : splits of features; of frames a mean says little
    """
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in NAMES}
    for condition, modalities in READ.items():
        has = [f"has_{name}" for name in modalities]
        splits = [clips.where(clips.table[has].any(axis=1)) for clips in (train, validation, test)]
        if not all(map(len, splits)):
            continue
        data = [(clip_statistics(clips, modalities), clips.labels.numpy()) for clips in splits]
        for name in NAMES:
            outputs = torch.from_numpy(_fit(data, name, train.task.outputs).astype(np.float32))
            tables[name].append(as_predictions(splits[2], outputs, fold=fold, seed=seed, condition=condition))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def clip_statistics(clips: Clips, modalities: Sequence[str]) -> np.ndarray:
    """Mean, deviation, lowest and highest value of every channel (N, 4 C); of one step the value itself (N, C).

    Channels are standardised as for a network; a modality that a clip lacks is zeros.
    """
    everything, columns = torch.arange(len(clips)), []
    for name in modalities:
        values = clips.audio_of(everything) if name == "audio" else clips.video_of(everything).movedim(1, 2)
        values = values.double().cpu().numpy()  # (N, C, T)
        columns += [values[..., 0]] if values.shape[-1] == 1 else [each(values, axis=-1) for each in STATISTICS]
    return np.concatenate(columns, axis=1)


def _fit(splits: list[tuple[np.ndarray, np.ndarray]], name: str, classes: int) -> np.ndarray:
    """The outputs (N, classes) or (N, 1) for the test split, by the classifier that is best in validation.

    classes : their number; 1 of sentiment. A class without a training clip has minus infinity.
    """
    from sklearn.linear_model import LogisticRegression, Ridge  # scikit-learn takes a second
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    models = {
        ("SVM", True): lambda c: SVR(C=c),
        ("SVM", False): lambda c: SVC(C=c),
        ("logistic regression", True): lambda c: Ridge(alpha=1 / c),
        ("logistic regression", False): lambda c: LogisticRegression(C=c, max_iter=2000),
    }
    (values, labels), validation, (test, _) = splits
    candidates = [make_pipeline(StandardScaler(), models[name, classes == 1](c)) for c in STRENGTHS]
    best = max((model.fit(values, labels) for model in candidates), key=lambda model: model.score(*validation))
    if classes == 1:
        return best.predict(test)[:, None]
    outputs, scores = np.full((len(test), classes), -np.inf), best.decision_function(test)
    outputs[:, best.classes_] = np.stack([-scores, scores], axis=1) / 2 if scores.ndim == 1 else scores  # 1: of two
    return outputs
