"""The site's part of Flower: the SuperNode, and the guard between what a coordinator ships and this machine."""
