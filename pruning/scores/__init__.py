"""How much each weight or block matters: one file a method, pure functions on tensors.

For single weights (`structure="none"`): `method(weight, statistics) -> scores`, where `weight` is [R, C] (outputs by
inputs), `statistics` maps the names in `needs` to tensors about the projection's input, and `scores` is [R, C], fp32,
the lowest going first. For `structure="layers"`: `method(statistics) -> scores`, one per block, as a list of floats.
"""
