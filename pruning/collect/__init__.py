"""What calibration tells of a model: the walk over its blocks, statistics of inputs, gradients."""
