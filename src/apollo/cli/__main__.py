"""`python -m apollo.cli`: how our own processes are started, whatever is on the PATH."""

from apollo.cli import main

main()
