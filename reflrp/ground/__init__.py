"""What every room stands on: caches for many threads, checks of arguments, the table of views, the bar of progress."""
