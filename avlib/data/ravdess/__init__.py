"""RAVDESS: its file names and trials (`trials`) and its download (`download`)."""
