"""Softmax regression: the problem, documents, layers, trainings, and what they come to."""
