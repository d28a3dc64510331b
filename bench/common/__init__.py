"""What every bench shares: traceable results, tables, clocks, peak memory, and the rates of a machine."""
