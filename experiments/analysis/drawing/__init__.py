"""What figures share: their style, panels and legends, and lines over a column."""
