"""Results that one can touch, as one HTML page; see `page.write_explorer`."""
