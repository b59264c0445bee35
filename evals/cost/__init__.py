"""What a model costs: time, memory, and how both grow."""
