"""Many runs: grids, notebooks executed by papermill, side by side on one machine or on a Ray cluster."""
