"""The report in words: sections of blocks made from the record, the same for HTML and PDF."""
