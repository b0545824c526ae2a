"""Clips in, arrays out: `ravdess` finds the files, `media`, `faces` and `audio` read them, `store` keeps the result."""
