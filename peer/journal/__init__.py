"""What happened on this device: kept, chained, and told to who should hear of it.

witness        notices what happens
trail          the audit trail, each entry chained to the one before
notices        what a person should hear of; notice_outlets: by a command or a webhook
event_stream   what happens, for who follows it as it happens
daemon_log     what the daemon says of itself: the newest lines
"""
