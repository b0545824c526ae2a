"""Makes a kernel that has executed a notebook as good as new; only its imports stay.

A kernel imports this module before its first notebook and calls `reset` before every other one.
"""

import gc
import logging
import os
import sys
import warnings

import torch
from IPython import get_ipython

LOGGING = tuple(logging.root.handlers), logging.root.level
FOLDER, VARIABLES = os.getcwd(), dict(os.environ)
RANDOM, THREADS = torch.get_rng_state(), torch.get_num_threads()
MAIN = {name: value for name, value in vars(sys.modules["__main__"]).items() if name.startswith("__")}  # __spec__, ...


def reset() -> None:
    """Forgets names, caches, outputs, figures and widgets; torch, logging and environment are as at the start."""
    if "ipywidgets" in sys.modules:
        sys.modules["ipywidgets"].Widget.close_all()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
        sys.modules["matplotlib"].rc_file_defaults()
    get_ipython().reset(new_session=True)
    for name in [name for name in sys.modules if name.startswith("workbook.")]:
        for value in vars(sys.modules[name]).values():
            if hasattr(value, "cache_clear"):  # its keys are the clips of this run
                value.cache_clear()
    vars(sys.modules["__main__"]).update(MAIN)  # multiprocessing needs them
    logging.root.handlers[:], logging.root.level = LOGGING
    os.chdir(FOLDER)
    os.environ.clear()
    os.environ.update(VARIABLES)
    torch.set_rng_state(RANDOM)
    torch.set_num_threads(THREADS)
    with warnings.catch_warnings():
        pass  # at its end Python forgets which warnings it has shown
    gc.collect()
    gc.freeze()  # only modules are left, which the next collection can skip
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
