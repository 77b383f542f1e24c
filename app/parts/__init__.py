"""Parts of pages: each takes what the package computed and draws it."""
