"""What figures share: style, words, panels and legends, values over a number or in rows."""
