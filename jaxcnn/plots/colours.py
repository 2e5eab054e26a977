"""A colour-blind-safe palette (Okabe & Ito 2008, Color Universal Design)."""

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, GREY = "#E69F00", "#555555"
