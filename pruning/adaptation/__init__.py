"""What recoveries train with: masked weights, the descent, the parts of a block, streams through them."""
