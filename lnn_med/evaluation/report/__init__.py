"""The report of a validation: words, figures and pictures of a record, as HTML and PDF."""
