"""Django's PostgreSQL backend, less its query log."""
