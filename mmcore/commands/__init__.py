"""The commands of `mmcore …`, by what they work on; `mmcore.cli` lists them."""
