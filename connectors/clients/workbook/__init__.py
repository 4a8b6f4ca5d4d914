"""Files that people hand over as a source: their formats, read in bounded memory and with suspicion."""
