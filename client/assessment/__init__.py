"""A release judged at the site, on its own patients: assessors observe patient by patient, the door counts."""
