"""Each kind of storage made ready for many workers; knows databases and files, no search."""
