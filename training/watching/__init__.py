"""A page that shows a run while it trains, from the files that it writes."""
