"""The terminal screen: what a person leaves open. It speaks to the daemon through
`control_client` alone.

Its rules: it never blocks on the daemon, and survives its restart. Every key is shown, and every
act is in the command palette too. What came from another device is made safe for the terminal
before it is shown. No colour literal in Python; the look is in one style sheet. It works on 80
columns by 24 lines.
"""
