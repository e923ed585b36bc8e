"""What a site answers to each kind of message, and the edge through which every answer leaves."""
