"""Every figure of the workbook, by one name: `plots.faces`, `plots.attention_over_clip`, `plots.confusions`, ...

A function that draws one panel takes `ax` (a new one where it is None) and returns it; a function that arranges several
panels returns the Figure, already closed for pyplot, so that a notebook shows it once, as the last expression of its
cell. `panels` draws what goes in, `attention` what happens between the branches, `attribution` what speaks for an
answer, `results` what comes out, `tables` the paper's tables, `prediction` what is said of
a clip of your own, `faithfulness` whether the answer depends on what is marked, `certainty` how sure the numbers are,
`studies` what happens between whole and missing.

Clips have seconds, features only places: `clock=plots.SECONDS` or `clock=plots.PLACE` says which the axis counts.
"""

from workbook.plots.attention import attention_by_emotion, attention_map, attention_maps, attention_over_clip
from workbook.plots.attribution import branches, grad_cam, scores
from workbook.plots.certainty import difference_matrices, difference_matrix, differences, ladder, system_intervals
from workbook.plots.faithfulness import areas_of_runs, deletion_curves, intervals, shuffled_layers
from workbook.plots.panels import (
    AUDIO,
    BOTH,
    ORIGIN_COLOUR,
    PLACE,
    SECONDS,
    VIDEO,
    Clock,
    dropout_variants,
    even_times,
    faces,
    features,
    frame,
    heard,
    mfcc,
    named_frames,
    save,
    spectrogram,
    waveform,
)
from workbook.plots.prediction import probabilities
from workbook.plots.results import LiveHistory, conditions, confusions, history, per_emotion, score_table, sentiment
from workbook.plots.studies import (
    study_calibration,
    study_conflict,
    study_credit,
    study_loss,
    study_offset,
    study_stand_ins,
    study_surface,
)
from workbook.plots.tables import slopes, styled, system_heatmap

__all__ = [
    "AUDIO",
    "BOTH",
    "ORIGIN_COLOUR",
    "PLACE",
    "SECONDS",
    "VIDEO",
    "Clock",
    "LiveHistory",
    "areas_of_runs",
    "attention_by_emotion",
    "attention_map",
    "attention_maps",
    "attention_over_clip",
    "branches",
    "conditions",
    "confusions",
    "deletion_curves",
    "difference_matrices",
    "difference_matrix",
    "differences",
    "dropout_variants",
    "even_times",
    "faces",
    "features",
    "frame",
    "grad_cam",
    "heard",
    "history",
    "intervals",
    "ladder",
    "mfcc",
    "named_frames",
    "per_emotion",
    "probabilities",
    "save",
    "score_table",
    "scores",
    "sentiment",
    "shuffled_layers",
    "slopes",
    "spectrogram",
    "study_calibration",
    "study_conflict",
    "study_credit",
    "study_loss",
    "study_offset",
    "study_stand_ins",
    "study_surface",
    "styled",
    "system_heatmap",
    "system_intervals",
    "waveform",
]
