"""In-context learning as gradient descent: the science behind the book, importable without a notebook.

| where | what |
|:--|:--|
| `softmax_regression` | the problem, documents, layers, trainings of the first paper, what they come to |
| `classification` | contexts, kernels, steps, heads, trainings of the second paper, what they come to |
| `bounds` | every inequality with left and right side, searches that attain it, Newton's method |
| `linear_regression` | the task of von Oswald et al. and its training |
| `attention`, `constructions` | attention layers; the weights with which they are a step |
| `alignment`, `matrices` | how near two models are; the multiple of a pattern nearest to a matrix |
| `statistics`, `claims` | numbers with their errors; what is claimed, measured and concluded |
| `display` | figures, tables, interactive figures, recorded benchmarks |
| `running` | random streams, training, the store, sweeps on one machine or many |

What is lower may not import what is higher (`make lint` holds it):
bounds, linear_regression > softmax_regression | classification > claims > display >
alignment, attention, constructions, matrices > statistics > running.
"""
