"""The report on evaluated runs: sections of runs that may stand in one table, and what report.ipynb shows of each."""

import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from workbook import InputError, plots
from workbook.data.datasets import DATASETS
from workbook.data.folds import FOLDS
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate import paper_tables
from workbook.evaluate.claims import AUDIO, CLAIMS, SAMPLED, Claim, check_claims, compare_pairs, in_words
from workbook.evaluate.classifiers import predict_without_network
from workbook.evaluate.paper_tables import Systems, as_wide, in_order, score_systems, table_cells
from workbook.files import write_table, write_text
from workbook.run.record import read_predictions
from workbook.run.reopen import open_trained
from workbook.run.results import all_runs, evaluated
from workbook.text import in_figure, in_markdown, styled

log = logging.getLogger(__name__)

KEY = ["dataset", "title", "settings", "fold_scheme", "fingerprint", "paper"]  # shared by the runs of a section
# Eleven columns fit beside the side bar.
LEFT = {"selector": "th, td", "props": "text-align: left; padding: 0.4em 0.25em"}
PAIRS = 8  # shown as a table, in these columns; the last four say what so few folds or actors can show
COLUMNS = ["dropout", "first", "second", "difference", "low", "high", "p_holm", "effect"]
COLUMNS += ["unit", "units", "seeds", "smallest", "needed"]

Displays = Iterator[HTML | Markdown | Figure | Styler]


@dataclass(frozen=True)
class Section:
    """Runs that may stand in one table: the same dataset, data, settings and fold scheme.

    The audio branch alone has a section of its own.
    """

    dataset: str
    title: str  # of the data, with the file's name where it is one of your own
    settings: str  # parameters that are not the dataset's defaults, such as `epochs20 lr0.01`
    fold_scheme: str
    fingerprint: str  # of the data; see `_key`
    paper: str  # whose numbers stand beside: ravdess, mosei, or "" for none
    runs: pd.DataFrame = field(repr=False)  # rows of `all_runs`
    systems: Systems = field(repr=False)  # predictions by system and dropout, all folds

    @property
    def origin(self) -> str:
        """toy | real"""
        return "toy" if DATASETS[self.dataset].make else "real"

    @property
    def folds(self) -> int:
        return FOLDS[self.fold_scheme]

    @property
    def heading(self) -> str:
        """What the data are: real or toy, and whether the paper had them."""
        other = " (not the paper's input)" if self.paper and self.paper != self.dataset else ""
        return f"{self.origin.upper()} DATA: {self.title}{other}"

    @property
    def details(self) -> str:
        return f"fold scheme {self.fold_scheme}; {self.settings or 'default settings'}"

    @property
    def name(self) -> str:
        """A name for a folder."""
        parts = [self.dataset, self.fold_scheme, *self.settings.split(), self.fingerprint[:4]]
        return re.sub(r"[^\w.=+-]", "_", "-".join(parts))

    @property
    def is_audio(self) -> bool:
        """Whether its systems are the audio branch alone."""
        return self.runs["fusion"].eq("audio").all()

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (AUDIO,) if self.is_audio else (*CLAIMS, SAMPLED)

    def tables(self, baselines: Systems | None = None) -> dict[str, pd.DataFrame]:
        """The cells of each printed table that its systems and the baselines belong to, by name (II | III)."""
        scores = score_systems(self.systems | (baselines or {}))
        dense = scores["system"].str.contains("dense|MULT")
        parts = {"II": scores[~dense], "III": scores[dense]} if self.paper == "mosei" else {"II": scores}
        return {table: table_cells(rows, table, self.paper) for table, rows in parts.items() if len(rows)}


def sections(outputs_root: Path) -> list[Section]:
    """All evaluated runs below a folder, in sections: first the paper's data, then other real data, then toys.

    Raises InputError where there is none, and where predictions are missing or damaged.
    """
    runs = evaluated(all_runs(outputs_root))
    if runs.empty:
        raise InputError(f"no evaluated run under {outputs_root}: `avlib run params/demo.yaml` makes some")
    keys = pd.DataFrame([_key(run) for run in runs.itertuples()], columns=["title", "fingerprint", "paper"])
    groups = runs.assign(**keys.set_index(runs.index)).groupby(KEY)
    parts = [Section(*key, runs=own.reset_index(drop=True), systems=_systems(own)) for key, own in groups]
    return sorted(parts, key=lambda part: (part.origin == "toy", part.paper != part.dataset, part.name))


def _key(run: Any) -> tuple[str, str, str]:
    """title, fingerprint and paper of a run's section, from its row of `all_runs`.

    The fingerprint is that of the run's store. Each kind of audio features has its own store: for the audio branch
    alone, which the paper has no numbers of, it is a hash of the corpus's path. Features of a file count as RAVDESS's
    for the paper's numbers if they have its emotions and the paper's folds of its actors.
    """
    dataset = DATASETS[run.dataset]
    title = f"features in {Path(run.data_root).name}" if run.dataset == "features" else dataset.title
    if run.fusion == "audio":
        return title, hashlib.sha256(str(run.data_root).encode()).hexdigest(), ""
    if dataset.paper_folds:
        return title, run.fingerprint, run.dataset if run.fold_scheme == dataset.paper_folds else ""
    is_ravdess = not dataset.make and run.fold_scheme == "paper" and set(run.labels) == set(EMOTIONS)
    return title, run.fingerprint, "ravdess" if is_ravdess else ""


def _systems(runs: pd.DataFrame) -> Systems:
    """The predictions of a section by system and dropout; each fold counts with as many seeds as the others."""
    systems = {}
    for name, own in runs.sort_values(["fold", "seed"]).groupby(["system", "dropout"]):
        folds = own.groupby("fold")
        seeds = folds.head(folds.size().min())
        systems[name] = pd.concat([read_predictions(Path(folder)) for folder in seeds["folder"]], ignore_index=True)
    return in_order(systems)


def section_baselines(part: Section, file: Path) -> Systems:
    """Predictions without a network on the folds of a section's runs, as systems without modality dropout.

    file : where they are kept; a later call computes only the folds that it lacks
    Empty for films and the audio branch alone. Logs which folds are left out: their data are gone or changed.
    """
    runs = part.runs.drop_duplicates("fold")
    if DATASETS[part.dataset].kind != "features" or part.is_audio:
        return {}
    table = pd.read_parquet(file) if file.exists() else pd.DataFrame({"system": [], "fold": []})
    for row in runs[~runs["fold"].isin(table["fold"])].itertuples():
        try:
            run = open_trained(row.folder)
            own = predict_without_network(run.train, run.validation, run.test, fold=run.parameters.fold)
        except InputError as error:
            log.info("fold %d of %s has no rows without a network: %s", row.fold, part.name, error)
        else:
            new = [each.assign(system=name) for name, each in own.items()]
            table = pd.concat([table, *new] if len(table) else new)
            write_table(file, table)
    table = table[table["fold"].isin(runs["fold"])]
    return {(name, "none"): rows.drop(columns="system") for name, rows in table.groupby("system")}


class Report:
    """The evaluated runs below a folder, in sections. Each method yields what a notebook can display.

    resamples : random swaps of actors, in each test of a single fold
    Figures are saved in the folder `report`. Raises InputError where no run is evaluated.
    """

    def __init__(self, outputs_root: Path, resamples: int):
        self.outputs_root, self.out, self.resamples = outputs_root, outputs_root / "report", resamples
        self.sections = sections(outputs_root)

    @cached_property
    def cells(self) -> list[tuple[Section, str, pd.DataFrame]]:
        """Each section with the number and the cells of each of its tables, baselines without a network among them."""
        return [
            (part, *table)
            for part in self.sections
            for table in part.tables(section_baselines(part, self.out / part.name / "baselines.parquet")).items()
        ]

    @cached_property
    def pairs(self) -> dict[str, pd.DataFrame]:
        """Every pair of systems, by section."""
        return {s.name: compare_pairs(s.systems, s.paper, resamples=self.resamples) for s in self.sections}

    @cached_property
    def answers(self) -> dict[str, pd.DataFrame]:
        """The comparisons of the claims, by section."""
        return {s.name: check_claims(s.systems, s.claims, s.paper, resamples=self.resamples) for s in self.sections}

    def overview(self) -> Displays:
        rows = []
        for part in self.sections:
            done = part.runs.groupby(["system", "dropout", "fold"]).ngroups
            row = {"data": part.heading, "settings": part.details, "systems and dropouts": len(part.systems)}
            row |= {"folds of these": f"{done} of {len(part.systems) * part.folds}", "runs": len(part.runs)}
            actors = pd.concat(part.systems.values())["actor"].nunique()
            rows.append(row | {"actors": actors, "fingerprint": part.fingerprint[:4]})
        yield styled(pd.DataFrame(rows)).hide().set_table_styles([LEFT])
        states = all_runs(self.outputs_root)["state"].str.partition(":")[0].value_counts()
        yield Markdown(f"Runs: {', '.join(f'**{count}** {in_markdown(state)}' for state, count in states.items())}.")

    def tables(self) -> Displays:
        for part, number, rows in self.cells:
            yield _heading(part)
            for metric in rows["metric"].unique():
                title = f"Table {number}, {metric}" if part.paper else metric
                yield plots.styled(as_wide(rows, part.folds, metric), part.origin).set_caption(title)
            ours = rows["value"].notna()
            paper = f"; Table {number} has {rows['paper'].notna().sum()}" if part.paper else ""
            complete = (ours & (rows["folds"] == part.folds)).sum()
            yield Markdown(f"**{ours.sum()}** numbers, {complete} with all {part.folds} folds{paper}.")

    def heatmaps(self) -> Displays:
        for part, number, rows in self.cells:
            yield self._save(part, f"heatmap-{number}.png", plots.system_heatmap(rows, part.origin, _title(part)))
            best = ", ".join(paper_tables.highest(rows)) or "none"
            yield Markdown(f"**{in_markdown(best)}** has the highest mean M.")

    def slopes(self) -> Displays:
        for part, number, rows in self.cells:
            try:
                yield self._save(part, f"slopes-{number}.png", plots.slopes(rows, part.origin, _title(part)))
            except InputError as reason:
                yield Markdown(f"{in_markdown(part.heading)}: {in_markdown(reason)}.")
            for whose, points in paper_tables.gains(rows).items():
                changes = ", ".join(f"**{change:+.1f}** in {name}" for name, change in points.items())
                yield Markdown(f"{changes}: points by which softhard changes {whose}, mean over these systems.")

    def contradictions(self) -> Displays:
        odd = paper_tables.contradictions()
        yield odd.style.hide().format({"expected": "{:.3f}"}).set_table_styles([LEFT])
        means = (odd["condition"] == "M").sum()
        yield Markdown(f"**{means}** means and **{len(odd) - means}** other number are odd.")

    def differences(self, condition: str) -> Displays:
        """The pairs of systems in one condition: a figure, then those with the smallest p."""
        for part in self.sections:
            rows = self.pairs[part.name].query("condition == @condition")
            if rows.empty:
                continue
            panels = {f"{condition}, {dropout}": own for dropout, own in rows.groupby("dropout", sort=False)}
            figure = plots.difference_matrices(panels, _title(part), plots.ORIGIN_COLOUR[part.origin])
            yield self._save(part, "pairs.png", figure)
            yield Markdown(f"**{(rows['p_holm'] < 0.05).sum()} of {len(rows)}** pairs differ in {condition}.")
            first = rows.sort_values("p").head(PAIRS)[COLUMNS].replace(float("inf"), None)
            decimals = {"p_holm": "{:.3f}"} | dict.fromkeys(["units", "needed"], "{:.0f}")
            yield styled(first, decimals, precision=1, na_rep="").hide().set_table_styles([LEFT])

    def claims(self) -> Displays:
        for part in self.sections:
            if len(self.answers[part.name]):
                yield _heading(part)
                yield Markdown(self._in_words(part))
        yield Markdown(f"**{sum(map(len, self.answers.values()))}** comparisons.")

    def write(self) -> list[str]:
        """Writes the tables and claims of each section beside its figures; returns all files in the report's folder.

        The cells of a table are one CSV file, with all decimals; each metric is a table in Markdown and in LaTeX.
        """
        for part, number, rows in self.cells:
            folder = self.out / part.name
            write_table(folder / f"table-{number}.csv", rows)
            for metric in rows["metric"].unique():
                wide, stem = as_wide(rows, part.folds, metric), f"table-{number}-{metric}"
                caption = f"{part.heading}. {metric.capitalize()}; {part.details}."
                write_text(folder / f"{stem}.md", f"{in_markdown(caption)}\n\n{paper_tables.as_markdown(wide)}")
                latex = paper_tables.as_latex(wide, caption, f"tab:{part.dataset}-{number}-{metric}")
                write_text(folder / f"{stem}.tex", latex)
        for part in self.sections:
            folder, heading = self.out / part.name, in_markdown(f"{part.heading}; {part.details}")
            for name, tables in {"pairs": self.pairs, "claims": self.answers}.items():
                if len(tables[part.name]):
                    write_table(folder / f"{name}.csv", tables[part.name])
            write_text(folder / "claims.md", f"{heading}\n\n{self._in_words(part)}\n")
        return sorted(
            str(path.relative_to(self.out)) for part in self.sections for path in self.out.glob(f"{part.name}/*")
        )

    def _in_words(self, part: Section) -> str:
        return "\n\n".join(in_words(self.answers[part.name], claim) for claim in part.claims)

    def _save(self, part: Section, name: str, figure: Figure | Axes) -> Figure:
        plots.save(figure, self.out / part.name / name)
        return figure.figure


def _title(part: Section) -> str:
    return in_figure(f"{part.heading}\n{part.details}")


def _heading(part: Section) -> HTML:
    colour = plots.ORIGIN_COLOUR[part.origin]
    return HTML(f"<h3 style='color: {colour}'>{escape(part.heading)}</h3><p>{escape(part.details)}</p>")
