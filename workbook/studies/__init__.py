"""Studies: what a network does between a whole clip and a missing modality. Conditions in, tables out; no drawing.

    study = STUDIES["loss"]
    conditions = study.conditions(clips)
    systems = {"mine": predictions(net, clips, conditions, fold=0, seed=1)}
    table = study.table(systems, conditions)
    study.sentence(table)

`workbook.plots` has a figure of the same name for each, such as `plots.study_loss(table)`.
"""

from workbook.studies import calibration, conflict, credit, loss, offset, stand_ins, surface
from workbook.studies.study import Study, predictions

STUDIES: dict[str, Study] = {
    "loss": loss.STUDY,
    "surface": surface.STUDY,
    "offset": offset.STUDY,
    "conflict": conflict.STUDY,
    "calibration": calibration.STUDY,
    "credit": credit.STUDY,
    "stand_ins": stand_ins.STUDY,
}

__all__ = ["STUDIES", "Study", "predictions"]
