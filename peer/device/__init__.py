"""What one device keeps of itself: its home, its keys' ledgers, its settings.

home           its directory: key, database, and the lock that lets one daemon in
home_store     the rows of `home.db`
ledgers        who may do what, as this device holds it
setup          makes a device; removing: puts one out
config         what a person can set
"""
