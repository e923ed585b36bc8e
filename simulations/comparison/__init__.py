"""What a release is worth: its pictures, masks and decisions against the truth, on patients that no model saw."""
