"""The same numbers sooner: nothing in here changes what is computed, and a reader may skip it."""
