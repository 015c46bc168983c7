create role pgark login replication;
