"""`python -m lnn_med.cli`."""

from lnn_med.cli import main

main()
