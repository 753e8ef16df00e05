"""The command line: `main` has the commands, `arguments` and `inputs` read what they are given, `report` prints."""
