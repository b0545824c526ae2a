"""What an exchange between the branches buys: accuracy, weights and time of each fusion beside `concat`."""

from pathlib import Path

import pandas as pd

from avlib import FUSIONS, build_model
from avlib.model import count_parameters
from workbook.data.datasets import DATASETS
from workbook.files import read_json
from workbook.run.results import evaluated
from workbook.text import in_markdown

KINDS = ("no exchange", "exchange without attention", "attention")  # of exchanges, in the order of the figure


def kind_of(fusion: str) -> str:
    """Which of KINDS a fusion exchanges by."""
    return KINDS[2] if FUSIONS[fusion].widths else KINDS[fusion != "concat"]


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
        rows.append({"corpus": DATASETS[dataset].title, "kind": kind_of(fusion), "fusion": fusion, **score, **cost})
    order = {"corpus": [DATASETS[name].title for name in DATASETS], "kind": KINDS, "fusion": [*FUSIONS]}
    return pd.DataFrame(rows).sort_values([*order], key=lambda c: c.map(list(order[c.name]).index), ignore_index=True)


def _weights(fusion: str) -> int:
    return sum(count_parameters(build_model(fusion, video_channels=1)).values())


def exchange_sentence(table: pd.DataFrame) -> str:
    """What each kind of exchange reaches at best on each corpus, in Markdown; table : as `exchange_table`."""
    lines = []
    for corpus, rows in table.groupby("corpus", sort=False):
        parts = []
        for kind, own in rows.groupby("kind", sort=False):
            best = own.loc[own["value"].idxmax()]
            interval = f"{best['low']:.1f} to {best['high']:.1f}"
            parts.append(f"**{best['value']:.1f} %** with {kind} ({in_markdown(best['fusion'])}, {interval})")
        lines.append(f"{corpus}: at best {', '.join(parts)}.")
    return "\n\n".join(lines)


def exchange_markdown(table: pd.DataFrame) -> str:
    """The table in Markdown: a row per fusion, a column per corpus with mean and range over its runs."""
    texts = table.assign(text=[_text(row) for row in table.itertuples()])
    wide = texts.pivot(index="fusion", columns="corpus", values="text")[[*dict.fromkeys(table["corpus"])]].fillna("")
    about = table.drop_duplicates("fusion").set_index("fusion")[["kind", "weights", "time"]]
    wide = about.join(wide).sort_values("kind", key=lambda c: c.map(KINDS.index), kind="stable")
    wide["weights"] = [f"{number:+,}".replace(",", " ") for number in wide["weights"]]
    wide["time"] = [f"{number:.1f}" for number in wide["time"]]
    return wide.reset_index().to_markdown(index=False, disable_numparse=True)


def _text(row) -> str:
    reach = f" ({row.low:.1f} to {row.high:.1f})" if row.runs > 1 else " (one run)"
    return f"{row.value:.1f}{reach}"
