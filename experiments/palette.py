"""The colours of arms, wherever they are drawn: in figures, pages and notebooks."""

#: Okabe & Ito, told apart by the colour-blind, darkest first
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: the same where the background may be dark, on which black would vanish
ON_ANY_BACKGROUND = (*COLOURS[:-1], "#8a8a8a")
