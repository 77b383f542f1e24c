"""The clinician's viewer: a web page that shows what the package computes, and computes nothing itself."""
