"""Finding files by what a person remembers of them.

search           a query, from what a person types
search_index     names, places, authors and words, in SQLite; search_upkeep keeps it up
search_requests  the same over all folders of this device
text_reader      the process that reads texts out of files; text_formats: what it reads
"""
