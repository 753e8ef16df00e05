"""Explanations in files: `saved` is their form, `archive` reads what nobody vouches for, `files` writes whole or not at all."""
