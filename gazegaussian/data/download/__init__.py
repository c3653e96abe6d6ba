"""Fetching the published data sets, with their digests."""
