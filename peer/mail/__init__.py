"""Sync with who is away: sealed items in mailboxes at relays.

mailboxes      over all relays: who is away, and when somebody has to look
relay_mail     those at one relay, as long as there is a link to it
mailbox        that of one folder and epoch; folder_mail: what is remembered of them
"""
