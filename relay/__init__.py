"""A relay: a machine that devices meet at and that never reads what they say.

Empty as yet. Devices find each other on the local network and by address; what a relay adds is
meeting across networks.

rendezvous    two devices learn each other's addresses through a relay that both reach
forwarding    a relay carries a session's packets while no direct path is found
mailbox       sealed changesets wait here for devices that are away
super-node    a relay that also stores shares
"""
