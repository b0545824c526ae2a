"""The results of many runs: one list of all runs, the table of their results, and the figure that compares them."""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from avlib.dropout import DROPOUTS
from avlib.fusion import FUSIONS
from workbook import OUTPUTS, InputError
from workbook.data.datasets import DATASETS
from workbook.evaluate.metrics import best_reachable
from workbook.files import write_table
from workbook.run.claim import PIPELINE, is_claimed
from workbook.run.parameters import CHOICES, NAMES, usual_values
from workbook.run.record import LOG, Record, read_metrics, read_predictions, read_record
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


def _row(folder: Path) -> dict[str, Any]:
    """The row of a folder, whatever it holds; {} where it holds no run."""
    place = {"folder": str(folder), "dataset": folder.parents[1].name, "system": folder.parent.name}
    try:
        if record := read_record(folder):
            scores = {}
            for name, values in read_metrics(folder).items():
                scores |= {name: values.get("accuracy"), f"MAE {name}": values.get("mae")}
            return _record_row(folder, record, has_scores=bool(scores)) | scores
    except InputError as error:
        return place | {"state": f"damaged: {error}"}
    log = folder / LOG  # the run has ended, or is at work, before training
    if not log.is_file():
        return {}
    *_, last = ["", *log.read_text(encoding="utf-8", errors="replace").splitlines()]
    state = last if last.startswith("failed: ") else "interrupted"
    return place | {"state": "running" if is_claimed(folder, PIPELINE) else state}


def _record_row(folder: Path, record: Record, has_scores: bool) -> dict[str, Any]:
    """The part of a row that run.json holds."""
    state, seconds, git = record.describe_state(folder), sum(record.seconds.values()), record.git
    row = {name: record.parameters[name] for name in PARAMETERS} | _names(record.parameters) | record.unknown
    row |= {
        "state": state,
        "folder": str(folder),
        "labels": tuple(record.labels),
        "seconds": seconds,
        "minutes": seconds / 60,
        "device": record.device,
        "fingerprint": record.fingerprint,
        "commit": git["commit"][:7] + "+" * git["dirty"] if git else "",
    }
    if state == "done" and not has_scores:
        row["state"] = "imported, not evaluated" if record.imported else "trained, not evaluated"
    if record.imported:
        assumed = [f"{name}-assumed" for name in record.imported.assumed]
        row |= {"minutes": None, "settings": " ".join([row["settings"], "imported", *assumed])}
    return row


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


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """Columns dropout, condition, accuracy; of several systems or settings, `dropout` names all that differs."""
    names = [name for name in ("data", "system", "settings", "dropout") if name in table and table[name].nunique() > 1]
    if names not in ([], ["dropout"]):
        labels = table[names].agg(" ".join, axis=1).str.split().str.join(" ")
        table = table.assign(dropout=labels.where(labels != "", table["dropout"]))
    return table.melt("dropout", CONDITIONS, var_name="condition", value_name="accuracy").dropna()


def as_text(table: pd.DataFrame) -> str:
    """The table in aligned columns, one decimal (errors: three), empty where there is no value."""
    texts = {}
    for name, column in table.items():
        number = "{:.3f}" if name in ERRORS else "{:.1f}"
        texts[name] = [number.format(value) if isinstance(value, float) else printable(value) for value in column]
    return pd.DataFrame(texts).where(table.notna().to_numpy(), "").to_string(index=False)
