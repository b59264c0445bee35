"""How a model is asked: requests as token ids, in batches, from a cache of answers."""
