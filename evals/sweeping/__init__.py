"""Many models pruned and measured: the grid, its cells in processes of their own, and the engines that run them."""
