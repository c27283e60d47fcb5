"""The control API: HTTP with JSON on a Unix socket in the home, for command line, screen, scripts.

control        its routes; control_files: those of files
control_guard  what every request has to pass (ATTACKS A36)
control_client the other end of it
openapi        all of it described
"""
