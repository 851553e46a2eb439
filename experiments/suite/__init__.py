"""The score card: any looped architecture judged by the same numbers, beside matched references."""
