"""Other people's weights, loaded and saved."""
