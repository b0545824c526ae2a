"""Settings of the environment's kernels, installed as etc/ipython/ipython_kernel_config.py."""

c = get_config()  # noqa: F821  (IPython gives it)
c.IPKernelApp.log_level = "ERROR"  # they listen on 127.0.0.1 alone: no warning that this is not encrypted
