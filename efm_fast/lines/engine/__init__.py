"""The two engines that follow lines: the extension follows whole lines in one call, torch steps all lines together."""
