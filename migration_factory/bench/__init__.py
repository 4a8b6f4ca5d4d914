"""How fast the engine is, and how much memory it takes, against other ways to load the same file.

``data`` makes the file, ``engine`` and ``rivals`` load it, ``contest`` lets them take turns, ``report`` says
what came out. ``dlt_load`` runs in a virtual environment of its own. Rules and results: docs/benchmarks.md.
"""
