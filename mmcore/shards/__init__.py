"""Leak-free splits, WebDataset tars, the global sample order and the reader."""
