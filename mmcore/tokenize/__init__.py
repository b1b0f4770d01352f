"""The tokenizer and the token ids of every caption."""
