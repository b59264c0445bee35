"""What a run leaves on the disk: the folder, its record, its identity, and what an unfinished one keeps."""
