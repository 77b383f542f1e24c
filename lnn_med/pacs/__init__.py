"""Archives of a hospital (PACS): find and fetch head scans, send results back, watch for new scans.

What a server or a peer says is never used as a path, a size or a UID before it was checked. Nothing here
knows how a scan is scored: whoever watches passes a function that does it. pynetdicom and dicomweb-client
come with the extra `pacs` and are imported where they are used.
"""
