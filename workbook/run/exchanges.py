"""What an exchange between the branches buys: accuracy, weights and time of each fusion beside `concat`."""

from pathlib import Path

import pandas as pd

from avlib import FUSIONS, build_model
from avlib.model import count_parameters
from workbook.data.datasets import DATASETS
from workbook.files import read_json
from workbook.run.results import evaluated

KINDS = ("no exchange", "exchange without attention", "attention")  # of exchanges, in the order of the figure


def exchange_table(runs: pd.DataFrame, benchmark: Path | str) -> pd.DataFrame:
    """A row per corpus and fusion of both branches, of runs that learnt without modality dropout.

    runs : as `all_runs`      benchmark : what `python -m benchmarks exchanges --out FILE` wrote
    Columns: corpus, kind (of KINDS), fusion; value, low, high: mean and range of AV over the runs, in percent; runs;
    weights: how many more than concat has; time: of a training step, in multiples of concat's.
    """
    times = {name: ratio["median"] for name, ratio in read_json(Path(benchmark))["ratio"].items()}
    runs = evaluated(runs)
    plain = (runs["dropout"] == "none") & ~runs["even_attention"].eq(True) & ~runs["balanced"].eq(True)
    both = runs["fusion"].map(lambda name: name in FUSIONS and len(FUSIONS[name].modalities) == 2)
    rows = []
    for (dataset, fusion), own in runs[plain & both].groupby(["dataset", "fusion"]):
        score = {"value": own["AV"].mean(), "low": own["AV"].min(), "high": own["AV"].max(), "runs": len(own)}
        cost = {"weights": _weights(fusion) - _weights("concat"), "time": times.get(fusion, 1.0)}
        kind = KINDS[2] if FUSIONS[fusion].widths else KINDS[fusion != "concat"]
        rows.append({"corpus": DATASETS[dataset].title, "kind": kind, "fusion": fusion, **score, **cost})
    order = {"corpus": [DATASETS[name].title for name in DATASETS], "kind": KINDS, "fusion": [*FUSIONS]}
    return pd.DataFrame(rows).sort_values([*order], key=lambda c: c.map(list(order[c.name]).index), ignore_index=True)


def _weights(fusion: str) -> int:
    return sum(count_parameters(build_model(fusion, video_channels=1)).values())
