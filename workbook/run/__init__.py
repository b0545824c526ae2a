"""Runs: their parameters, folders, records and results, and what a notebook's guard cell calls."""

__all__ = ["configure", "open_run"]


def __getattr__(name: str):
    if name in __all__:  # on first use, so that `avlib --help` does not wait for torch
        from workbook.run import parameters_cell

        return getattr(parameters_cell, name)
    raise AttributeError(f"module 'workbook.run' has no attribute {name!r}")
