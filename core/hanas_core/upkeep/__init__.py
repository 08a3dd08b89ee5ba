"""Care for the folder: compaction and checks."""
