"""Files: what is read and written, whole or not at all, and what the disk says."""
