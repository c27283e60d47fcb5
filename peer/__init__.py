"""A device: what turns files on a disk into replicated nodes, and replicated nodes into files on a
disk.

The engine decides and does no I/O; everything around it is a thin shell that reads a disk, a clock
or a network and tells it. One daemon runs for each home, and everybody else (command line, terminal
screen, scripts) speaks to it through the control API.

home          one device's own directory: key, ledgers, folders' databases, control socket
engine        three trees (local, synced, remote) and a pure planner that makes them equal
disk          the files of one folder, reached only beneath the folder's root
store         the chunks this device holds, in place in synced files or in packs
daemon        the one place where all of it is wired together
control       the daemon's API on a Unix socket
"""
