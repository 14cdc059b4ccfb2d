"""The console: pages for a browser that ask the server what any other client could ask."""
