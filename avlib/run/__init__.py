"""Running the notebooks: parameters, run folders, many runs and the command `avlib`."""

from avlib.run.params import configure

__all__ = ["configure"]
