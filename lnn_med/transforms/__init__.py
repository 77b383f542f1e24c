"""From a scan's own grid and intensities to the model's, recorded so that every step can be undone."""
