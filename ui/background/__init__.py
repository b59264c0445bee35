"""What runs while the page is open: the worker, fetching, streaming, visitors."""
