"""What can be wrong with one file or one case; `client.data.integrity` runs all of it over a catalog."""
