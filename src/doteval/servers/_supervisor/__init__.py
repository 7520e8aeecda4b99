"""The other process, one for each server: standard library only, started as a directory (see ``__main__``)."""
