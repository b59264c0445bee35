"""What a model is made of: blocks, projections, experts, and their counts."""
