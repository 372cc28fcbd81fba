"""A bus WAKES. It carries pointers, never authority: losing every message costs delay, no call."""
