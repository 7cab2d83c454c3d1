"""In-context learning as gradient descent: the science behind the book, importable without a notebook."""
