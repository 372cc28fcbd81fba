"""`python -m apollo` is the command line."""

from apollo.cli import main

main()
