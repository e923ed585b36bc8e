"""Measures of images, masks, scores and proportions; each states what it says of an empty or one-sided input."""
