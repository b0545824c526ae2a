"""Texts of others stay text: in Markdown, LaTeX, figures, tables and terminals."""

import mistune
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure

from workbook.text import in_figure, in_latex, in_markdown, papermill_command, printable, styled

NAMES = ["<script>alert(1)</script><img src=x onerror=alert(1)>", "a & b &lt; c &#60;", "a | b || c", "# title"]
NAMES += ["[click](javascript:alert(1)) ![x](y)", "**bold** _slanted_ __init__ snake_case_name ~~gone~~"]
NAMES += ["$x$ $\\frac$ 5 $ \\(x\\) \\[y\\] @@0@@", "\\ back\\slash \\\\", "<https://a.example> a@b.example"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_markdown_is_shown_as_it_is(name):
    for source, place, text in [
        (f"Name: {in_markdown(name)}.", "p", f"Name: {name}."),
        (f"| a |\n| --- |\n| {in_markdown(name)} |\n", "td", name),
    ]:
        shown = BeautifulSoup(mistune.html(source), "html.parser").find(place)
        assert shown.get_text() == text and not shown.find_all(True)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_table_of_a_notebook_is_shown_as_it_is(name):
    table = pd.DataFrame({name: [name]}, index=[name])
    for style in (styled(table), styled(table, {name: str.strip}, na_rep=""), styled(table).set_caption("ours")):
        cells = BeautifulSoup(style.to_html(), "html.parser").find_all(["td", "th"])
        assert [cell.get_text() for cell in cells][1:] == [name] * 3 and not any(cell.find_all(True) for cell in cells)


def test_a_name_in_a_figure_is_no_formula():
    for name in NAMES:
        title = Figure().suptitle(in_figure(name))
        assert title._preprocess_math(title.get_text()) == (name, False)


def test_a_name_in_latex_has_no_active_sign():
    escaped = r"a\textbackslash{}b\{c\}\_d\textasciicircum{}e\textasciitilde{}f\&g\%h\$i\#j"
    assert in_latex(r"a\b{c}_d^e~f&g%h$i#j") == escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07\x1b[31mred", "\\x1b]0;title\\x07\\x1b[31mred"),
        ("over\rwritten", "over\\rwritten"),
        ("gnp.exe\u202e4pm", "gnp.exe\\u202e4pm"),
        ("caf\udce9", "caf\\udce9"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("Straße 北京 😀", "Straße 北京 😀"),
    ],
)
def test_control_characters_do_not_reach_a_terminal(text, shown):
    assert printable(text) == shown


def test_a_command_quotes_for_the_shells_of_its_system(monkeypatch):
    command = "papermill notebooks/train.ipynb outputs/train.ipynb -p epochs 3 -p data_root "
    for system, path, word in (("linux", "/my data", "'/my data'"), ("win32", "C:\\my data", '"C:\\my data"')):
        monkeypatch.setattr("sys.platform", system)
        assert papermill_command("train", {"epochs": 3, "data_root": path}) == command + word
