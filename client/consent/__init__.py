"""A site's consent: the plans that were offered, what they mean, and which of them a person approved."""
