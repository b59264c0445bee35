"""What is done after pruning to win quality back: one file a method, `recover(model, tokenizer) -> None`."""
