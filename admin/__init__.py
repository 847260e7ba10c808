"""Asks and shows: the command line, the page, the metrics. Every wish is a row that the coordinator picks up."""
