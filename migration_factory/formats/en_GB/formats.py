"""What differs from Django's formats for British English: a clock of 24 hours."""

DATETIME_FORMAT = "j M Y, H:i"
TIME_FORMAT = "H:i"
