"""The numbers of a validation report, section by section; words are in `evaluation.report.sections`."""
