"""The few operations of neighbouring services that a client of IVS needs on the same port."""
