"""Share links, on the side of who makes them and of who fetches without a browser.

link_content   what a link is to give
link_maker     the manifest, sealed and put; link_listing: what is in it
link_ending    what both kinds have in common: which is meant, and its end
link_store     which links this device has made; link_sharing: those of the user's other devices
link_visit     one visitor, over HTTP; link_get: a whole link into a directory
"""
