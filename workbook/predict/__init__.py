"""A network's answer to a clip of your own: windows, probabilities, a page to keep."""
