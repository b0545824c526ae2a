"""The explorer's dropdowns, sliders and buttons in one look, and how code sets them."""

from typing import Any

import ipywidgets as widgets

from workbook import InputError

SLIDER = {
    "style": {"description_width": "108px"},
    "layout": {"width": "auto", "min_width": "270px", "flex": "1 1 0"},
}


def dropdown(name: str, options: list, share: int = 1) -> widgets.Dropdown:
    """A dropdown that takes `share` parts of the width of its row, or one of the next row where that is too narrow."""
    layout = {"width": "auto", "min_width": f"{40 + 40 * share}px", "flex": f"{share} 1 0"}
    return widgets.Dropdown(description=name, options=options, style={"description_width": "initial"}, layout=layout)


def button(label: str, tooltip: str, width: str) -> widgets.Button:
    """A button of a fixed width."""
    return widgets.Button(description=label, tooltip=tooltip, layout={"width": width, "flex": "none"})


def slider(name: str, options: list, value: float) -> widgets.SelectionSlider:
    """A slider over some values, or pairs of text and value."""
    return widgets.SelectionSlider(description=name, options=options, value=value, **SLIDER)


def set_value(control: widgets.Widget, value: Any, name: str) -> None:
    """Sets a control. Raises InputError for a value that it does not have."""
    try:
        control.value = value
    except Exception:  # traitlets' own kinds
        raise InputError(f"{name} cannot be {value!r} here") from None


def set_options(control: widgets.Dropdown, options: list[tuple[str, Any]]) -> None:
    """Offers other pairs of text and value; the value stays if it is among them, else the first is chosen."""
    value, values = control.value, [value for _, value in options]
    control.options = options
    control.value = value if value in values else next(iter(values), None)
