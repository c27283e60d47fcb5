"""The other devices: how they are found, dialled, punched through to, and talked with.

network        all connections of this device; connection: one of them
discovery      devices on the local network
dialling       whom to dial, where, and when again
relays         where devices meet that have no direct way; punching: looks for one nevertheless
invitations    the inviting side of pairing
"""
