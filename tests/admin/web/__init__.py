"""The page, by HTTP and in a browser."""
