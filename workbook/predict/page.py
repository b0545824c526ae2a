"""A page to keep: one HTML file that needs no network and no other file."""

import jinja2
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure

from workbook.data.window import WINDOW
from workbook.predict.prediction import MEANING, Prediction


def page(prediction: Prediction, figure: Figure) -> str:
    """The answer to a clip as HTML: what to know first, sentences, the figure, every window."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("workbook", "predict"), autoescape=True)
    return environment.get_template("page.html").render(
        record=prediction.as_record(),
        sentences=prediction.sentences(),
        conditions=list(MEANING),
        figure=print_figure(figure, base64=True, dpi=150, facecolor="white"),
        window=WINDOW,
    )
