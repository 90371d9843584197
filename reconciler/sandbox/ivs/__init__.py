"""The operations of the service: plain functions from a validated request to an answer."""
