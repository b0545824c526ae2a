"""RAVDESS: its file names and trials (`trials`), and how it is fetched (`download`)."""
