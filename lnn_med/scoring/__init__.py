"""A folder of scans scored: found, listed in a manifest, each measured once, resumable."""
