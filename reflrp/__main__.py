"""`python -m reflrp` is the command `reflrp`."""

from reflrp.cli import main

main()
