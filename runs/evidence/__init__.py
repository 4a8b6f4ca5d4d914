"""Evidence: what a run proved, as one file that anybody can recompute, and as a workbook and a document made of it.

``document`` tells what is in the file, ``digests`` how it is sealed, ``verification`` recomputes it; ``workbook``
and ``pdf`` set it for people.
"""
