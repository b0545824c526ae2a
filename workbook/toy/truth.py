"""The truth of each clip of a toy dataset: a table in the dataset's folder, or beside its file.

clip, actor; face_start, face_end, voice_start, voice_end, duration : the spans of the cues, and the length of the clip,
in seconds (files of features: as shares of the clip, in [0, 1]); face_shows, voice_shows : False where nothing differs
in the span; and columns that the makers of the datasets describe (`truth`, `truth_row`, `make_pickle`).
"""

from pathlib import Path

import pandas as pd


def truth_path(root: Path) -> Path:
    """Where the truth of a dataset is; root : its folder of clips, or its file of features."""
    return root / "truth.parquet" if root.is_dir() else root.with_suffix(".truth.parquet")


def read_truth(root: Path) -> pd.DataFrame:
    """The truth of a dataset, one row per clip."""
    return pd.read_parquet(truth_path(root))
