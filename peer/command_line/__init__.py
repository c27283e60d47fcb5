"""The command `holdfast`: its grammar, what each command does, and what a person reads.

cli            the grammar and the door; acts and *_acts: one function a command
terminal       everything that is printed, foreign strings made safe
doctor         what keeps Holdfast from working here
service        a daemon that stays up
demo           the promises, timed and checked with real daemons
"""
