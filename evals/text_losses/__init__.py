"""The loss of texts, window by window, and what is made of it: perplexity, bits per byte, closeness."""
