"""One folder at work: the core's commands performed on a disk and an index, and others told.

folder        its loop: what happens goes in, commands are performed, what was written is told
intake        from the disk to the records
delivery      from the records to the disk
fetcher       the bytes it lacks; serving: the bytes that others lack; pausing: whose bytes wait
index_store   its index in SQLite
openings      which folders are at work on this device
"""
