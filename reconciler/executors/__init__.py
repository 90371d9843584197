"""Where the work on targets runs: threads of this process, worker processes, the workers of a Dask cluster.

``executor`` is the seam, ``fleet`` the work of plan, drift and apply on one target, ``processes`` and ``dask_cluster`` run it elsewhere.
Imports ``workflow`` and what is below it; only ``cli`` chooses an executor. Read ``executor`` first.
"""
