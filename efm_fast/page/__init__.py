"""A local page that shows field lines and runs, and a run's report in one HTML file."""
