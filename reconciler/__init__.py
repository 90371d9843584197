"""Keep the Amazon IVS resources of an AWS account in sync with YAML in a git repository.

There is no public Python API beyond the ``ivs-reconciler`` command and ``reconciler.sandbox.Sandbox``; everything else may change between releases.
"""

__version__ = "0.1.0"
