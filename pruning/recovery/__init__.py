"""What is done after pruning to win quality back: one file a method, a class that is made with the job.

`implementation(job)` refuses what it cannot do, before any work; `cost(tokens)` forecasts what it takes with so much
text; `begin()` takes what it needs of the dense model, before anything goes; `run(progress, seconds)` changes the
pruned model, in so many seconds (None: as its settings say), and returns what it did, as JSON types. Zeros stay zero
bit for bit, and `job.undo` takes every change back.
"""
