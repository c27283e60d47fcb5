"""What files were: versions that are kept, found, brought back and let go.

version_store  the versions of one folder, in its index
spares         copies of what the person here wrote last, which become versions
history        keeps, restores and expires; history_requests: the same for paths that a person names
"""
