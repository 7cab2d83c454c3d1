"""What pages show: figures, tables, interactive figures, recorded benchmarks."""
