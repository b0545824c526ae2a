"""Looking at what was learnt: figures, the clip explorer, attention against the truth, and how sure the numbers are."""
