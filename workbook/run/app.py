"""The explorer as a page: Voila shows it, without code, to whoever opens the address."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil

from workbook import ROOT, InputError

IDLE = 120  # seconds that a kernel outlives its page, for a viewer who comes back
GRACE = 10  # seconds in which Voila must end its kernels
KERNEL = 840_000_000  # bytes of a kernel with a figure, at most
PAGE = "page"  # the tag of the cell whose output is the page; the cells before it prepare it
HELP = """<details><summary>How to use it</summary>

- Drag over picture or spectrogram to mask these seconds; click on a masked span to free it. Click elsewhere to move the
  cursor.
- By keyboard: Space plays, ← and → move the cursor, with Shift they mask audio, with Alt video; Delete frees all.
- Bars are probabilities: full bars of the first network, hatched ones of the second. Black lines show them before any
  change.
- Attention of 1 is even. Grey lines show it before any change, dashed ones that of the second network. Shaded spans are
  the truth, where it is known.
- In the map white is even, colour is more, grey is less.

</details>"""
TEMPLATE = """{% extends 'voila/templates/lab/index.html.j2' %}
{% block notebook_css %}{{ super() | replace('https://cdn.jsdelivr.net', 'data:text/css,') }}{% endblock %}
"""  # Voila's own, without icons from the internet


def write_page(folder: Path, run: str = "") -> Path:
    """Writes the explorer's notebook to a folder, so that it shows the output of the cell tagged `page` alone.

    run : folder of the trained run that it opens; "" as in the notebook itself
    """
    book = nbformat.read(ROOT / "notebooks" / "explorer.ipynb", as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    place = next(number for number, cell in enumerate(code) if PAGE in cell.metadata.get("tags", []))
    before = [cell.source for cell in code[:place]]
    before.insert(1, f"# Parameters\nrun = {run!r}")  # behind the cell of the defaults, as papermill does
    title = book.cells[0].source.splitlines()[0].removeprefix("# ")
    cells = [
        nbformat.v4.new_markdown_cell(f"### {title}\n\n{HELP}"),
        nbformat.v4.new_code_cell("%%capture\n" + "\n\n".join(before)),
        nbformat.v4.new_code_cell(code[place].source),
    ]
    path = folder / "explorer.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=book.metadata), path)
    return path


def write_template(folder: Path) -> None:
    """Writes Voila's template `avlib` below a folder for $JUPYTER_PATH."""
    template = folder / "voila" / "templates" / "avlib"
    template.mkdir(parents=True)
    (template / "index.html.j2").write_text(TEMPLATE)
    (template / "conf.json").write_text('{"base_template": "lab"}')


def kernels_for(viewers: int) -> int:
    """The number of kernels that may run at once: one for each viewer, as far as memory reaches."""
    return max(1, min(viewers, psutil.virtual_memory().available // KERNEL))


def voila_command(page: Path, ip: str, port: int, viewers: int, ready: int, browser: bool) -> list[str]:
    """The command that serves a notebook as `serve` does; it ends when its standard input is closed."""
    command = [sys.executable, "-m", "workbook.run.voila_page", str(page), f"--port={port}", f"--Voila.ip={ip}"]
    command += ["--Voila.auto_token=True", f"--FewKernels.most={kernels_for(viewers)}"]
    command += ["--template=avlib", "--show_tracebacks=False", f"--Voila.connection_dir_root={page.parent}"]
    # Voila drops the message of a closed page, so kernels without a page are culled; those of open pages, and those
    # started for the next viewers, stay.
    command += [f"--MappingKernelManager.cull_idle_timeout={IDLE}", "--MappingKernelManager.cull_connected=False"]
    command += [f"--MappingKernelManager.cull_interval={min(IDLE, 15)}"]
    command += [f"--preheat_kernel={ready > 0}", f"--pool_size={max(ready, 1)}"]
    return command + ([] if browser else ["--no-browser"])


def serve(run: str, ip: str, port: int, viewers: int, ready: int, browser: bool, folder: Path) -> int:
    """Serves the page until it is ended; returns Voila's exit status.

    ip : the address it listens at; 127.0.0.1 = this machine alone
    viewers : kernels at once, at most; less where memory is short      ready : kernels started for the next viewers
    folder : an empty one, for the page's notebook
    Raises InputError where Voila is not installed, and where the run cannot be opened.
    """
    try:
        import voila  # noqa: F401
    except ImportError:
        raise InputError("the page needs Voila: pip install 'avlib[app]'") from None
    from workbook.run.reopen import find_run

    page = write_page(folder, str(find_run(run)))
    write_template(folder)
    command = voila_command(page, ip, port, viewers, ready, browser)
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("JUPYTER_PATH")])])
    threads = os.environ.get("OMP_NUM_THREADS", "2")  # with more, viewers wait for each other
    environment = os.environ | {"JUPYTER_PATH": paths, "OMP_NUM_THREADS": threads}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
    try:
        return process.wait()
    finally:
        process.stdin.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()  # its kernels end with it
