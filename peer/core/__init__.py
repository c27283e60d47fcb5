"""What a folder decides: events and `now` go in, commands and rows come out. No I/O (`lint-imports`
checks it), so that a simulator drives it exactly as a daemon does.

engine        what the disk did becomes changesets, what others say the disk's next state
turn          what one step of it loaded and changed; nothing is written until it commits
tree          the synced tree, which this disk shows
planner       from one shown tree to the next, in operations that never need a taken name
commands      what it asks of a disk and an index; disk_types are the answers
"""
