"""Every figure of the workbook, by one name: `plots.faces`, `plots.attention_over_clip`, `plots.confusions`, ...

A function that draws one panel returns its axes; many take `ax` (None = new axes). A function that arranges several
panels returns the Figure, closed for pyplot, so that a notebook shows it once, as the last expression of its cell.
Clips have seconds, features only places: `clock=plots.SECONDS` or `clock=plots.PLACE` says which the time axis counts.
"""
# ruff: noqa: F401

from workbook.plots.attention import (
    attention_by_emotion,
    attention_map,
    attention_maps,
    attention_over_clip,
    branches,
    grad_cam,
    scores,
)
from workbook.plots.clock import PLACE, SECONDS, Clock, clock_of, even_times
from workbook.plots.diagrams import attention_by_hand, exchange_sketches, network_diagram
from workbook.plots.faithfulness import areas_of_runs, changed_answers, deletion_curves, intervals, shuffled_layers
from workbook.plots.inputs import (
    contact_sheet,
    dropout_variants,
    faces,
    features,
    frame,
    named_frames,
    sound,
    spectrogram,
    spectrogram_and_mfcc,
)
from workbook.plots.marks import save
from workbook.plots.paper_tables import slopes, styled, system_heatmap
from workbook.plots.prediction import outputs, probabilities
from workbook.plots.results import conditions, confusions, exchanges, per_emotion, score_table, sentiment
from workbook.plots.statistics import difference_matrices, differences, ladder, system_intervals
from workbook.plots.studies import (
    study_calibration,
    study_conflict,
    study_credit,
    study_loss,
    study_offset,
    study_stand_ins,
    study_surface,
)
from workbook.plots.style import AUDIO, BOTH, ORIGIN_COLOUR, VIDEO
from workbook.plots.training import LiveHistory, history
