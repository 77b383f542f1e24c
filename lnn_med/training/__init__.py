"""Training loop around the same line that prediction uses."""
