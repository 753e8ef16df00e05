"""Other libraries' names, arguments and numbers, one module each."""
