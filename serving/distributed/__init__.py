"""Many machines, on Ray: replicas of the server by Ray Serve, bulk classification by Ray Data."""
