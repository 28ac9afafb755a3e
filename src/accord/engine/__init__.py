"""What a server does, over the ports of `store` and `peers`; it never sees an adapter or HTTP."""
