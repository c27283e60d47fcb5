"""A relay: a machine that devices meet at and that never reads what they say.

It knows a device by a pseudonym, and where it waits by ids that mean nothing to it; what it carries
between two devices is their own TLS. Nothing that it does is trusted by anybody.

rendezvous    two devices meet under an id that only these two can compute, and that changes daily
nameplate     the number in a pairing code: where a device waits for one that it does not know yet
call          a device's wish to be connected with who waits under an id
ticket        32 random bytes: the right to one end of one call, for some seconds
stream        one end of a call; the relay joins two of them byte for byte
mailbox       sealed items of one folder for devices that are away, under a tag that says nothing
node          a relay that also stores shares of packs
namespace     what one folder stores at one node, under a name that says nothing
standby       a node that holds no share of a pack yet, and rebuilds one that is lost
"""
