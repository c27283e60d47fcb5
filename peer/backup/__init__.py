"""Copies at super-nodes: sealed packs, erasure-coded, and the way back from a recovery kit alone.

backups        all folders that are kept; folder_backup: one of them
pack_store     what one folder has there: packs, what lies in them, who holds their shares
placement      which node holds which share
share_audit    whether they still do
vaults         what a recovery kit finds; recovery: a new device made of it
"""
