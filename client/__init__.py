"""What runs inside a hospital: it alone opens scans, and one door lets updates out."""
