"""From a scan to a prediction with the shipped bundles."""
