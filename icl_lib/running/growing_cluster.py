"""joblib on a Dask cluster whose workers come one after the other. Imported only where a cluster is asked for."""

from joblib._dask import DaskDistributedBackend


class GrowingCluster(DaskDistributedBackend):
    """joblib's own backend, but a cluster with one worker computes there too, instead of in the process that asks.

    That worker may be another machine, and more may come.
    """

    def effective_n_jobs(self, n_jobs: int) -> int:
        """How many points joblib takes to be computed at once; with 1 it would not use the backend at all."""
        return max(2, int(super().effective_n_jobs(n_jobs)))
