"""What the cells of report.ipynb show: tables, figures and sentences, section by section.

Each method of `Report` yields what a notebook can display, and saves the figures.
"""

from collections.abc import Iterator
from functools import cached_property
from html import escape
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from workbook import InputError, plots
from workbook.evaluate import paper_tables
from workbook.evaluate.claims import AUDIO, CLAIMS, SAMPLED, check_claims, compare_pairs, in_words
from workbook.evaluate.paper_tables import as_wide
from workbook.evaluate.statistics import intervals
from workbook.files import write_table, write_text
from workbook.run.report import Section, overview, section_baselines, sections
from workbook.run.results import all_runs
from workbook.text import in_figure, in_markdown, styled

# Eleven columns fit beside the side bar.
LEFT = {"selector": "th, td", "props": "text-align: left; padding: 0.4em 0.25em"}
PAIRS = 8  # shown as a table
COLUMNS = ["dropout", "first", "second", "difference", "low", "high", "p_holm", "effect"]
POWER = ["unit", "units", "seeds", "smallest", "needed"]  # columns: what so few folds or actors can show

Displays = Iterator[HTML | Markdown | Figure | Styler]


class Report:
    """The evaluated runs below a folder, in sections, with what the notebook says of each.

    resamples : random swaps of actors, in each test of a single fold
    Raises InputError where no run is evaluated.
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
        return {s.name: compare_pairs(s.fused, s.paper, resamples=self.resamples) for s in self.sections}

    @cached_property
    def answers(self) -> dict[str, pd.DataFrame]:
        """The comparisons of the paper's claims, by section."""
        return {s.name: check_claims(s.fused, CLAIMS, s.paper, resamples=self.resamples) for s in self.sections}

    def overview(self) -> Displays:
        yield styled(overview(self.sections)).hide().set_table_styles([LEFT])
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

    def other_tables(self) -> Displays:
        """The paper's tables that no run belongs to."""
        ours = {(number, part.paper) for part, number, _ in self.cells}
        for number, dataset in (table for table in paper_tables.PRINTED_TABLES if table not in ours):
            rows = paper_tables.table_cells(paper_tables.score_systems({}), number, dataset)
            wides = [as_wide(rows, 0, metric).drop(columns="tested", level=0) for metric in rows["metric"].unique()]
            tables = "".join(plots.styled(wide, "real").to_html() for wide in wides)
            yield HTML(f"<details><summary>Table {number}, {dataset}: nothing run</summary>{tables}</details>")

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
            first = rows.sort_values("p").head(PAIRS)[[*COLUMNS, *POWER]].replace(float("inf"), None)
            decimals = {"p_holm": "{:.3f}"} | dict.fromkeys(["units", "needed"], "{:.0f}")
            yield styled(first, decimals, precision=1, na_rep="").hide().set_table_styles([LEFT])

    def claims(self) -> Displays:
        for part in self.sections:
            if len(self.answers[part.name]):
                yield _heading(part)
                yield Markdown(self._claims(part))
        yield Markdown(f"**{sum(map(len, self.answers.values()))}** comparisons.")

    def sampled(self) -> Displays:
        """Whether the dropout of the paper's text does as well as that of its code."""
        for part in self.sections:
            rows = check_claims(part.fused, (SAMPLED,), part.paper, resamples=self.resamples)
            if len(rows):
                yield _heading(part)
                yield Markdown(in_words(rows, SAMPLED))
        if not any(dropout == "sampled" for part in self.sections for _, dropout in part.fused):
            yield Markdown("No run of dropout=sampled is there.")

    def audio(self) -> Displays:
        """The audio branch alone, by its features."""
        parts = [part for part in self.sections if part.audio]
        for part in parts:
            names = {f"{name.partition(' ')[2] or 'mfcc'} ({dropout})": t for (name, dropout), t in part.audio.items()}
            rows = intervals(names, conditions=["A"])
            axes = plots.system_intervals(rows)
            axes.set_title(_title(part), fontsize=10, color=plots.ORIGIN_COLOUR[part.origin], weight="bold", pad=22)
            yield self._save(part, "audio.png", axes)
            yield styled(rows.rename(columns={"system": "features (dropout)"}), precision=1).hide()
            yield Markdown(self._audio_claim(part))
        if not parts:
            yield Markdown("No run of fusion=audio is there.")

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
            for name, tables in {"pairs": self.pairs, "claims": self.answers}.items():
                if len(tables[part.name]):
                    write_table(self.out / part.name / f"{name}.csv", tables[part.name])
            claims = "\n\n".join(filter(None, [self._claims(part), part.audio and self._audio_claim(part)]))
            heading = in_markdown(f"{part.heading}; {part.details}")
            write_text(self.out / part.name / "claims.md", f"{heading}\n\n{claims}\n")
        return sorted(
            str(path.relative_to(self.out)) for part in self.sections for path in self.out.glob(f"{part.name}/*")
        )

    def _claims(self, part: Section) -> str:
        return "\n\n".join(in_words(self.answers[part.name], claim) for claim in CLAIMS) if part.fused else ""

    def _audio_claim(self, part: Section) -> str:
        return in_words(check_claims(part.audio, (AUDIO,), resamples=self.resamples), AUDIO)

    def _save(self, part: Section, name: str, figure: Figure | Axes) -> Figure:
        plots.save(figure, self.out / part.name / name)
        return figure.figure


def _title(part: Section) -> str:
    return in_figure(f"{part.heading}\n{part.details}")


def _heading(part: Section) -> HTML:
    colour = plots.ORIGIN_COLOUR[part.origin]
    return HTML(f"<h3 style='color: {colour}'>{escape(part.heading)}</h3><p>{escape(part.details)}</p>")
