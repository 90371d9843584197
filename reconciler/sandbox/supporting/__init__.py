"""The supporting services on the sandbox's port: the operations of STS, Service Quotas and CloudTrail that IVS clients call."""
