"""mmcore: one graph from a web page to a promoted image-text model."""

__version__ = "0.1.0"
