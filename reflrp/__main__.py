"""`python -m reflrp` is the command `reflrp`."""

from reflrp.cli.main import main

main()
