"""Looking at what was learnt: figures, the clip explorer, and attention measured against the truth."""
