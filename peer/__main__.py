"""`python -m peer` and the command `holdfast` start here."""

import sys

from peer.command_line.cli import main

if __name__ == "__main__":
    sys.exit(main())
