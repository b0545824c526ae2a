"""The results of many runs: one list of all, the table of their results, and what runs show beside each other."""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from avlib.dropout import DROPOUTS
from avlib.fusion import FUSIONS
from avlib.model import build_model, count_parameters
from workbook import OUTPUTS, InputError
from workbook.data.datasets import DATASETS
from workbook.evaluate.metrics import best_reachable
from workbook.files import read_json, write_table
from workbook.run.claim import PIPELINE, is_claimed
from workbook.run.parameters import CHOICES, NAMES, usual_values
from workbook.run.record import LOG, Record, read_metrics, read_predictions, read_record
from workbook.run.reopen import TrainedRun
from workbook.run.run_name import UNNAMED, RunName
from workbook.task import AVERAGED
from workbook.text import in_figure, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONDITIONS = (*AVERAGED, "M")
ERRORS = tuple(f"MAE {name}" for name in CONDITIONS)  # columns of sentiment alone
SYSTEM = ("dataset", "data", "system", "settings", "dropout", "fold_scheme")  # columns of texts
TABLE = (*SYSTEM, "fold", "seed", *CONDITIONS, *ERRORS, "epochs", "minutes")  # columns of a result table
LISTED = (*SYSTEM, "fold", "seed", *CONDITIONS, *ERRORS, "seconds", "device", "commit", "state")  # by `avlib runs`
PARAMETERS = tuple(name for name in NAMES if name not in UNNAMED)
RESULTS = ("seconds", "minutes", "labels", "fingerprint", "device", "commit", "folder")
SYNTAX = (  # of a condition on runs
    "Expression BoolOp And Or UnaryOp Not USub Name Load Constant List Tuple Compare Eq NotEq Lt LtE Gt GtE In NotIn"
)
PARTS = tuple(getattr(ast, name) for name in SYNTAX.split())
EXCHANGES = ("no exchange", "exchange without attention", "attention")  # in the order of their figure
MOST_BARS = 6  # in a group of the comparison's figure; more runs become a coloured table


def all_runs(outputs_root: Path = OUTPUTS) -> pd.DataFrame:
    """A row per run below a folder, as `runs_in`."""
    return runs_in(sorted(outputs_root.glob("*/*/*fold*-seed*")))


def runs_in(folders: Iterable[Path]) -> pd.DataFrame:
    """A row per run in these folders, from run.json and metrics.json alone.

    Columns: state; each parameter; data (the corpus, where it is not at its usual place), system (such as `IA1 dense`),
    settings (parameters that are not defaults, such as `lr0.01`); accuracies AV, A, V, M in percent, of sentiment those
    of the sign, and its mean absolute errors MAE AV, …; seconds; minutes; labels; fingerprint of the data; device;
    commit; folder. The state is done, running, interrupted, `trained, not evaluated`, or failed or damaged with the
    reason.
    """
    rows = [row for folder in folders if (row := _row(Path(folder)))]
    columns = ["state", *PARAMETERS, "data", "system", "settings", *CONDITIONS, *ERRORS, *RESULTS]
    runs = pd.DataFrame(rows, columns=columns)
    return runs.astype(dict.fromkeys(("fold", "seed", "epochs", "heads"), "Int64"))


def evaluated(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of `runs_in` that are evaluated."""
    return runs[runs["labels"].notna() & runs[[*CONDITIONS]].notna().any(axis=1)]


class Missing:
    """A missing value: it equals no other, holds no other, and is neither more nor less."""

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = lambda self, other: False


def where(runs: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The rows of `all_runs` that fulfil a condition, such as `fusion == 'ia' and AV > 80`.

    A condition has names of columns (with `_` in place of spaces), numbers, texts, lists of these, comparisons, `in`,
    `and`, `or` and `not`; nothing else in it is executed. Raises InputError with what else it has.
    """
    names = [name.replace(" ", "_") for name in runs]
    rows = runs.astype(object).where(runs.notna(), Missing()).set_axis(names, axis="columns").to_dict("records")
    try:
        tree = ast.parse(condition.strip(), mode="eval")
        for node in ast.walk(tree):
            if not isinstance(node, PARTS) or isinstance(getattr(node, "value", ""), bytes | complex | None):
                raise ValueError("it can have names, numbers, texts, comparisons, in, and, or, not")
            if isinstance(node, ast.Name) and node.id not in names:
                raise ValueError(f"there is no {node.id}")
        code = compile(tree, "condition", "eval")
        fulfilled = [eval(code, {"__builtins__": {}}, row) for row in rows]
        if not all(isinstance(value, bool) for value in fulfilled):
            raise ValueError("it is neither true nor false")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{condition!r} is no condition on runs ({error}): give one such as \"fusion == 'ia' and AV > 80\", "
            f"with the columns {', '.join(names)}"
        ) from None
    return runs[fulfilled]


def result_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The evaluated rows of `runs_in` in the columns of TABLE; some columns are left out where they are empty.

    Toy datasets have a last row with the best reachable accuracies; where a corpus needs an exchange between the
    branches, also one with the AV that is expected without.
    """
    runs = evaluated(runs)
    table = runs.reindex(columns=TABLE).reset_index(drop=True)
    for dataset, labels in dict.fromkeys(runs[["dataset", "labels"]].itertuples(index=False, name=None)):
        best = best_reachable(dataset, len(labels))
        without = {"AV": best.pop("without an exchange", None)}
        for system, scores in {"best reachable": best, "expected without an exchange": without}.items():
            if any(scores.values()):
                texts = dict.fromkeys(SYSTEM, "") | {"dataset": dataset, "system": system}
                table.loc[len(table)] = dict.fromkeys(TABLE) | texts | scores
    numbers = dict.fromkeys((*CONDITIONS, *ERRORS, "minutes"), "float64")
    table = table.astype(numbers | dict.fromkeys(("fold", "seed", "epochs"), "Int64"))
    empty = [name for name in ("data", "settings", *ERRORS) if table[name].replace("", None).isna().all()]
    return table.drop(columns=empty)


def as_text(table: pd.DataFrame) -> str:
    """The table in aligned columns, one decimal (errors: three), empty where there is no value."""
    texts = {}
    for name, column in table.items():
        number = "{:.3f}" if name in ERRORS else "{:.1f}"
        texts[name] = [number.format(value) if isinstance(value, float) else printable(value) for value in column]
    return pd.DataFrame(texts).where(table.notna().to_numpy(), "").to_string(index=False)


def _row(folder: Path) -> dict[str, Any]:
    """The row of a folder, whatever it holds; {} where it holds no run."""
    place = {"folder": str(folder), "dataset": folder.parents[1].name, "system": folder.parent.name}
    try:
        if record := read_record(folder):
            return _record_row(folder, record)
    except InputError as error:
        return place | {"state": f"damaged: {error}"}
    log = folder / LOG  # the run has ended, or is at work, before training
    if not log.is_file():
        return {}
    *_, last = ["", *log.read_text(encoding="utf-8", errors="replace").splitlines()]
    state = last if last.startswith("failed: ") else "interrupted"
    return place | {"state": "running" if is_claimed(folder, PIPELINE) else state}


def _record_row(folder: Path, record: Record) -> dict[str, Any]:
    """The row of a run that has a record."""
    metrics, state, git, origin = read_metrics(folder), record.describe_state(folder), record.git, record.imported
    if state == "done" and not metrics:
        state = "imported, not evaluated" if origin else "trained, not evaluated"
    seconds, names = sum(record.seconds.values()), _names(record.parameters)
    if origin:
        names["settings"] = " ".join([names["settings"], "imported", *(f"{name}-assumed" for name in origin.assumed)])
    row = {name: record.parameters[name] for name in PARAMETERS} | names | record.unknown
    for name, values in metrics.items():
        row |= {name: values.get("accuracy"), f"MAE {name}": values.get("mae")}
    return row | {
        "state": state,
        "folder": str(folder),
        "labels": tuple(record.labels),
        "seconds": seconds,
        "minutes": None if origin else seconds / 60,
        "device": record.device,
        "fingerprint": record.fingerprint,
        "commit": git["commit"][:7] + "+" * git["dirty"] if git else "",
    }


def _names(parameters: dict[str, Any]) -> dict[str, str]:
    """The columns data, system (as the paper's tables name it, such as `IA1 dense`) and settings."""
    fusion = parameters["fusion"]
    name = RunName(parameters, usual_values(parameters["dataset"], fusion))
    (first, *tags), data = name.system, name.tags.get("data_root", "")
    has_heads = fusion not in FUSIONS or bool(FUSIONS[fusion].widths)  # of another session's fusion nothing is known
    of_system = [tag for tag in tags if tag == "dense" or tag in CHOICES["audio_features"]]
    settings = [tag for tag in (*tags, *name.settings) if tag not in (*of_system, data)]
    system = " ".join([first.upper() if has_heads else fusion, *of_system])
    return {"data": data, "system": system, "settings": " ".join(settings)}


def comparison(runs: pd.DataFrame, out: Path) -> Path:
    """Writes comparison.png, as `draw_comparison`, and the table comparison.csv to `out`; returns the figure's path.

    runs : as `runs_in` makes them, all of one dataset
    """
    from workbook import plots

    write_table(out / "comparison.csv", result_table(runs))
    return plots.save(draw_comparison(runs), out / "comparison.png")


def draw_comparison(runs: pd.DataFrame) -> "Axes":
    """AV, A, V and M for each system and kind of dropout; runs : as `runs_in` makes them, all of one dataset"""
    from workbook import plots

    table = result_table(runs)
    runs, scores = evaluated(runs), accuracies(table[table["fold"].notna()])
    (dataset, *_), labels = runs["dataset"], runs["labels"].map(len)
    heading = DATASETS[dataset].title
    if scores["dropout"].nunique() > MOST_BARS:
        ax = plots.score_table(scores)
    else:
        is_emotion = labels.nunique() == 1 and runs[[*ERRORS]].isna().all(axis=None)  # else there is no common chance
        chance = 100 / labels.iloc[0] if is_emotion else None
        ax = plots.conditions(scores, best_reachable(dataset, labels.iloc[0]), chance)
        heading = f"{heading}: {', '.join(runs['system'].unique())}"
    ax.figure.suptitle(in_figure(heading))
    return ax


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """Columns dropout, condition, accuracy; of several systems or settings, `dropout` names all that differs."""
    names = [name for name in ("data", "system", "settings", "dropout") if name in table and table[name].nunique() > 1]
    if names not in ([], ["dropout"]):
        labels = table[names].agg(" ".join, axis=1).str.split().str.join(" ")
        table = table.assign(dropout=labels.where(labels != "", table["dropout"]))
    return table.melt("dropout", CONDITIONS, var_name="condition", value_name="accuracy").dropna()


def dropout_pair(folder: Path) -> pd.DataFrame:
    """Two rows of `runs_in`: the run in a folder and one that differs in modality dropout alone; without it first.

    No row where there is no such pair. Beside a run without dropout stands the one with softhard, else any other.
    """
    record = read_record(folder)
    own = record.parameters["dropout"]
    kinds = dict.fromkeys([own, "none", "softhard", *DROPOUTS])
    name = folder.parent.name.split("-")
    names = ["-".join(kind if part == own else part for part in name) for kind in kinds]
    runs = runs_in(folder.parents[1] / each / folder.name for each in names)
    runs = evaluated(runs[runs["fingerprint"] == record.fingerprint])
    without, trained = runs[runs["dropout"] == "none"], runs[runs["dropout"] != "none"]
    pair = pd.concat([without, trained[:1]])
    return pair if len(pair) == 2 and str(folder) in set(pair["folder"]) else runs[:0]


def dropout_sentence(pair: pd.DataFrame) -> str:
    """What modality dropout gains, in Markdown, and how little so few actors can show; pair : as `dropout_pair`."""
    from workbook.evaluate.sentences import gains
    from workbook.evaluate.statistics import differences

    if pair.empty:
        return (
            "No run differs from this one in modality dropout alone: `avlib run params/demo.yaml` trains such a pair."
        )
    tables = {row.dropout: read_predictions(Path(row.folder)) for row in pair[::-1].itertuples()}
    return gains(differences(tables))


def lifts_of_runs(outputs_root: Path) -> pd.DataFrame:
    """How much attention lies inside the cues: a row per run below a folder and modality, the highest lift first.

    Columns: run, modality, and the means over its clips of lift and lift_elsewhere, as in `attention.truth.shares`.
    """
    tables = []
    for path in sorted(outputs_root.glob("*/*/*/attention_shares.csv")):
        means = pd.read_csv(path).groupby("modality", as_index=False)[["lift", "lift_elsewhere"]].mean()
        means.insert(0, "run", path.parent.relative_to(outputs_root).as_posix())
        tables.append(means)
    return pd.concat(tables).sort_values("lift", ascending=False, ignore_index=True)


def trained_both_ways(run: TrainedRun) -> dict[str, pd.DataFrame]:
    """Predictions of the run's system with learnt and with even attention, of the folds and seeds that both have.

    Empty where there are none. The runs with even attention lie beside the run's own, as `avlib run` puts them.
    """
    folders = {}
    for name, even in {"learnt": False, "even": True}.items():
        config = run.parameters.model_copy(update={"even_attention": even})
        system = run.folder.parents[1] / config.folder.parent.name
        folders[name] = {path.parent.name: path.parent for path in sorted(system.glob("*/predictions.parquet"))}
    shared = {name: int(name.rpartition("-seed")[2]) for name in folders["learnt"] if name in folders["even"]}
    return {
        side: pd.concat([read_predictions(own[name]).assign(seed=seed) for name, seed in shared.items()])
        for side, own in folders.items()
        if shared
    }


def even_sentence(run: TrainedRun) -> str:
    """What learnt attention adds in AV to a training with even attention, in Markdown; else how to train one."""
    from workbook.evaluate.statistics import differences, intervals

    sides = trained_both_ways(run)
    if not sides:
        return "No run beside this one was trained with even attention: train it with `-p even_attention true`."
    values = intervals(sides, conditions=["AV"]).set_index("system")["value"]
    row = differences(sides, conditions=["AV"]).iloc[0]
    reach = f" ({row.low:+.1f} to {row.high:+.1f})" if pd.notna(row.low) else ""
    trainings = sides["even"][["fold", "seed"]].drop_duplicates()
    return (
        f"**{row.difference:+.1f} points**{reach} by learnt attention: {values['learnt']:.1f} % are right with it, "
        f"{values['even']:.1f} % after training with even attention ({len(trainings)} of each)."
    )


def exchange_table(runs: pd.DataFrame, benchmark: Path | str) -> pd.DataFrame:
    """A row per corpus and fusion of both branches, of runs that learnt without modality dropout.

    runs : as `all_runs`      benchmark : what `python -m benchmarks exchanges --out FILE` wrote
    Columns: corpus, kind (of EXCHANGES), fusion; value, low, high: mean and range of AV over the runs, in percent;
    runs; weights: how many more than concat has; time: of a training step, in multiples of concat's.
    """
    times = {name: ratio["median"] for name, ratio in read_json(Path(benchmark))["ratio"].items()}
    runs = evaluated(runs)
    plain = (runs["dropout"] == "none") & ~runs["even_attention"].eq(True) & ~runs["balanced"].eq(True)
    both = runs["fusion"].map(lambda name: name in FUSIONS and len(FUSIONS[name].modalities) == 2)
    rows = []
    for (dataset, fusion), own in runs[plain & both].groupby(["dataset", "fusion"]):
        score = {"value": own["AV"].mean(), "low": own["AV"].min(), "high": own["AV"].max(), "runs": len(own)}
        cost = {"weights": _weights(fusion) - _weights("concat"), "time": times.get(fusion, 1.0)}
        kind = EXCHANGES[2] if FUSIONS[fusion].widths else EXCHANGES[fusion != "concat"]
        rows.append({"corpus": DATASETS[dataset].title, "kind": kind, "fusion": fusion, **score, **cost})
    order = {"corpus": [DATASETS[name].title for name in DATASETS], "kind": EXCHANGES, "fusion": [*FUSIONS]}
    return pd.DataFrame(rows).sort_values([*order], key=lambda c: c.map(list(order[c.name]).index), ignore_index=True)


def _weights(fusion: str) -> int:
    return sum(count_parameters(build_model(fusion, video_channels=1)).values())
