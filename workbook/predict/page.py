"""A page to keep: one HTML file that needs no network and no other file."""

from base64 import b64encode
from io import BytesIO

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from workbook.data.window import WINDOW
from workbook.predict.prediction import NEEDED, Learnt, as_record, summary
from workbook.predict.windows import Windows


def page(windows: Windows, table: pd.DataFrame, learnt: Learnt, figure: Figure) -> str:
    """The answer to a clip as HTML: what to know first, sentences, figure, every window; arguments as `as_record`."""
    image = BytesIO()
    figure.savefig(image, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    environment = jinja2.Environment(loader=jinja2.PackageLoader("workbook", "predict"), autoescape=True)
    return environment.get_template("page.html").render(
        record=as_record(windows, table, learnt),
        summary=summary(table, learnt.labels),
        conditions=list(NEEDED),
        figure=b64encode(image.getvalue()).decode(),
        window=WINDOW,
    )
