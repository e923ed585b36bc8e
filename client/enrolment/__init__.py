"""A site's own folder, from its key's birth to the kit with which it joins."""
