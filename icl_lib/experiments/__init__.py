"""One module for each family of experiments: a frozen, validated config and what it computes."""
