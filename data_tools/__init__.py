"""Data sets for training and validation: what exists, how to fetch and verify it, how to convert scans."""
