"""What may leave the site, and the one door through which it leaves."""
