"""Stalls of event loops and threads, put into every Python that a test run starts."""
