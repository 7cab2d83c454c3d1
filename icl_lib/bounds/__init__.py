"""The theory of softmax regression: every lemma and theorem of the book's part on bounds, as functions.

An inequality is a pair of functions, left side and right side (`inequality.Inequality`); `statements.ALL` lists
them. Nothing here trains, and a conjecture is never used as a theorem.
"""
