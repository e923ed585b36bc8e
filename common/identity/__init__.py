"""Who is who: keys, signatures, certificates, and the files in which they travel."""
