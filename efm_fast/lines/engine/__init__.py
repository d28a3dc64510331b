"""The two engines that follow lines: the extension takes whole lines in one call, torch takes one step of all lines."""
