"""The network that learns, from X-rays simulated out of a CT, where an X-ray was taken from."""
