"""The same numbers in less time. Nothing here changes a result, and a reader may skip it."""
