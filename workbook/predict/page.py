"""A page to keep: one HTML file that needs no network and no other file."""

from base64 import b64encode
from io import BytesIO

import jinja2
from matplotlib.figure import Figure

from workbook.data.window import WINDOW
from workbook.predict.prediction import MEANING, Prediction


def page(prediction: Prediction, figure: Figure) -> str:
    """The answer to a clip as HTML: what to know first, sentences, the figure, every window."""
    image = BytesIO()
    figure.savefig(image, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    environment = jinja2.Environment(loader=jinja2.PackageLoader("workbook", "predict"), autoescape=True)
    return environment.get_template("page.html").render(
        record=prediction.as_record(),
        sentences=prediction.sentences(),
        conditions=list(MEANING),
        figure=b64encode(image.getvalue()).decode(),
        window=WINDOW,
    )
