"""Protocol code that a source and a target of the same system share."""
