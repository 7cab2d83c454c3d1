"""Classification in context: contexts, kernels, steps, heads, trainings, and what they come to."""
