"""What a reader gets: tables, CSV, plots, and the files of other harnesses."""
