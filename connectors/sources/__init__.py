"""One module per platform we read from."""
