"""Who integrates the lines of an exact field: the extension, all steps in one call, or torch, step by step."""
