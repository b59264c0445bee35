"""One run: a recipe and a model in, an artifact out. The command line, a sweep's cell and the page call nothing else."""
