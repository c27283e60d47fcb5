"""The files of one folder: reached below its root alone, through no symlink, and never destroyed.

disk          gives each batch of work its open directories
scanner       walks what may have changed; the watchers say where that is, as hints
reader        reads and hashes what stands still
staging       contents that are not yet whole or not yet durable
writer        changes the tree, each operation only if the disk still shows what the plan saw
"""
