"""The quality of learned and exact maps, beside flow matching and PFGM."""
