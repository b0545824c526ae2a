"""Running the notebooks: parameters, run folders, grids of runs and the command `avlib`."""

__all__ = ["configure"]


def __getattr__(name: str):
    if name == "configure":  # on first use, so that `avlib --help` does not wait for pandas
        from workbook.run.parameters import configure

        return configure
    raise AttributeError(f"module 'workbook.run' has no attribute {name!r}")
