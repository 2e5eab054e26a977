"""A colour-blind-safe palette (Okabe & Ito 2008, Color Universal Design)."""

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY = "#555555"
ORANGE, SKY = "#E69F00", "#56B4E9"
